"""Sweeps: trials of a config at many points, and reports of them."""

"""Scripts that time or train our modules next to mmdet's and others.

Run one from the root of a checkout: python -m benchmarks.focal_loss --help
"""

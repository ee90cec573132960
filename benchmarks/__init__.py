"""Scripts that time ours beside mmdet's and others', or train both.

Run one from the root of a checkout: python -m benchmarks.focal_loss --help
"""

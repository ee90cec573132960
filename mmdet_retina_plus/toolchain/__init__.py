"""Building mmcv for the torch of this environment: `retina-plus build-mmcv`.

Works where mmdet does not import yet: torch is imported inside functions,
mmcv only by the process that checks the operators.
"""

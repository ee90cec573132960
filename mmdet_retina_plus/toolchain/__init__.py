"""Build mmcv for the torch of this environment: `retina-plus build-mmcv`.

It works before mmdet can be imported: torch is imported inside functions,
mmcv only by the process that checks the operators.
"""

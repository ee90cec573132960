"""What several rooms share; it imports nothing of theirs.

`loss_calls` and `trained_detectors` are heavy: they import torch, mmengine and
mmdet as they load. All other modules are light: they import these, mmcv and
the heavy ones inside functions only. What must start where a host is missing,
as `retina-plus` does to say so, does the same.
"""

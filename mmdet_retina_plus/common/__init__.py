"""Code shared by several rooms; it imports none of them.

`loss_calls` and `trained_detectors` import torch, mmengine and mmdet at module
level. All other modules import these packages, mmcv and the two modules inside
functions only. So does any code that must start without them, such as
`retina-plus`, which then reports what is missing.
"""

"""What several rooms share; it imports nothing of theirs.

`loss_calls` and `trained_detectors` import torch and mmdet. The other modules
do so inside functions only, so that `retina-plus` can say what is missing.
"""

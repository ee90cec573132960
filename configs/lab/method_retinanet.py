# RetinaNet (arXiv 1708.02002), the same as assigner_max-iou: IoU .5 and .4,
# nine anchors per location, focal loss over all of them.
#
#   mim train mmdet configs/lab/method_retinanet.py
_base_ = './assigner_max-iou.py'

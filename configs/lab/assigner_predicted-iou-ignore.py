# RetinaNet's assignment, and negatives whose predicted box has an IoU above .7
# with an object are ignored, as in YOLOv3.
#
#   mim train mmdet configs/lab/assigner_predicted-iou-ignore.py
_base_ = './assigner_max-iou.py'

model = dict(
    bbox_head=dict(mining=[dict(type='PredictedIoUIgnore', iou_thr=0.7)])
)

# YOLOv3's assignment, complete: negatives whose predicted box has an IoU above
# .7 with an object are ignored, recomputed in every step.
#
#   mim train mmdet configs/lab/assigner_best-prior-ignore.py
_base_ = './assigner_best-prior.py'

model = dict(
    bbox_head=dict(mining=[dict(type='PredictedIoUIgnore', iou_thr=0.7)])
)

# YOLOv3's assignment (https://arxiv.org/abs/1804.02767): one positive per
# object, the anchor of best shape over all levels, at the object's centre. All
# other anchors are background.
#
#   mim train mmdet configs/lab/assigner_best-prior.py
_base_ = './assigner_max-iou.py'

model = dict(
    train_cfg=dict(
        assigner=dict(_delete_=True, type='BestPriorAssigner'),
    )
)

# YOLOv3's rule (https://arxiv.org/abs/1804.02767): one positive an object, the
# anchor whose shape fits it best over all levels, at its centre. All others
# are background, good ones as well.
#
#   mim train mmdet configs/lab/assigner_best-prior.py
_base_ = './assigner_max-iou.py'

model = dict(
    train_cfg=dict(
        assigner=dict(_delete_=True, type='BestPriorAssigner'),
    )
)

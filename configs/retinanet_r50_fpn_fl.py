# RetinaNet R-50-FPN, COCO 1x: mmdet's retinanet_r50_fpn_1x_coco with our focal
# loss, head and assigner. Same values, less time and memory per step.
#
#   mim train mmdet configs/retinanet_r50_fpn_fl.py
#
# Expect what mmdet's config gives: its zoo lists 36.5 box AP on val2017 for
# 8 GPUs x 2 images. We have not run it on COCO.
_base_ = [
    'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
    './_base_/plugin.py',
]

model = dict(
    type='RetinaPlus',
    bbox_head=dict(
        type='RetinaPlusHead', loss_cls=dict(type='FusedFocalLoss')
    ),
    train_cfg=dict(assigner=dict(type='StreamingMaxIoUAssigner')),
)

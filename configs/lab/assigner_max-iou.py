# RetinaNet's strategy, and the base of the family `assigner_*`: same backbone,
# neck, head, data and schedule, only the choice of positives and negatives
# differs. Positive from IoU .5, background below .4, ignored between; every
# object keeps its best anchor. Focal loss over all anchors, divided by the
# number of positives.
#
#   mim train mmdet configs/lab/assigner_max-iou.py
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', './data.py']

model = dict(
    type='RetinaPlus',
    data_preprocessor=_base_.lab_preprocessor,
    backbone=dict(_delete_=True, **_base_.lab_backbone),
    neck=dict(_delete_=True, **_base_.lab_neck),
    bbox_head=dict(
        type='RetinaPlusHead',
        num_classes=_base_.num_classes,
        in_channels=_base_.lab_width,
        feat_channels=_base_.lab_width,
        stacked_convs=_base_.lab_convs,
        # Deltas of about unit size, as RetinaMask and ATSS scale them.
        bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=dict(type='FusedFocalLoss'),
    ),
    train_cfg=dict(assigner=dict(type='StreamingMaxIoUAssigner')),
)

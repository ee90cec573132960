# RetinaNet's assignment, and the base of all `assigner_*` configs: they share
# backbone, neck, head, data and schedule and differ in how positives and
# negatives are chosen. Positive from IoU .5, background below .4, ignored in
# between; each object also keeps its best anchor. Focal loss over all anchors,
# divided by the number of positives.
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
        # Scale deltas to about unit size, as RetinaMask and ATSS do.
        bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=dict(type='FusedFocalLoss'),
    ),
    train_cfg=dict(assigner=dict(type='StreamingMaxIoUAssigner')),
)

# A small RetinaNet that two CPU cores train from scratch in minutes: R-18 of
# base width 16, 64 channels in neck and towers, two convolutions per tower.
_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'

model = dict(
    type='RetinaPlus',
    backbone=dict(
        depth=18,
        base_channels=16,
        frozen_stages=-1,
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=64),
    bbox_head=dict(
        type='RetinaPlusHead',
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        # Deltas of about unit size, as RetinaMask scales them, give the boxes
        # several times the weight that mmdet's stds of 1 do.
        bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=dict(type='FusedFocalLoss'),
    ),
    train_cfg=dict(assigner=dict(type='StreamingMaxIoUAssigner')),
)

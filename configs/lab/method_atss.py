# ATSS (arXiv 1912.02424): FCOS's head on one square anchor per location,
# positive above an adaptive IoU threshold per object.
#
#   mim train mmdet configs/lab/method_atss.py
_base_ = '../_base_/lab_towers.py'

model = dict(
    type='ATSS',
    bbox_head=dict(
        type='ATSSHead',
        anchor_generator=dict(
            type='AnchorGenerator',
            ratios=[1.0],
            octave_base_scale=_base_.lab_square,
            scales_per_octave=1,
            strides=[8, 16, 32, 64, 128],
        ),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2]
        ),
        loss_cls=dict(type='FusedFocalLoss', use_sigmoid=True),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
        loss_centerness=dict(
            type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0
        ),
    ),
    train_cfg=dict(
        assigner=dict(type='ATSSAssigner', topk=9),
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    ),
    test_cfg=dict(nms=dict(iou_threshold=0.6)),
)

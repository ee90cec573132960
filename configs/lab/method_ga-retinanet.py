# RetinaNet with guided anchors (arXiv 1901.03278): branches predict location
# and shape of one anchor, deformable convolutions adapt the features to it.
# Locations are positive in .2 of an object's box and ignored up to .5; a shape
# is trained towards the object that nine anchors overlap best.
#
#   mim train mmdet configs/lab/method_ga-retinanet.py
_base_ = '../_base_/lab_towers.py'

model = dict(
    type='RetinaNet',
    bbox_head=dict(
        type='GARetinaPlusHead',
        approx_anchor_generator=dict(
            type='AnchorGenerator',
            octave_base_scale=4,
            scales_per_octave=3,
            ratios=[0.5, 1.0, 2.0],
            strides=[8, 16, 32, 64, 128],
        ),
        square_anchor_generator=dict(
            type='AnchorGenerator',
            ratios=[1.0],
            scales=[4],
            strides=[8, 16, 32, 64, 128],
        ),
        anchor_coder=dict(type='DeltaXYWHBBoxCoder'),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loc_filter_thr=0.01,
        loss_loc=dict(
            type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25
        ),
        loss_shape=dict(type='BoundedIoULoss', beta=0.2, loss_weight=1.0),
        loss_cls=dict(type='FusedFocalLoss', use_sigmoid=True),
        loss_bbox=dict(type='SmoothL1Loss', beta=0.04, loss_weight=1.0),
    ),
    train_cfg=dict(
        ga_assigner=dict(
            type='ApproxMaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.4,
            min_pos_iou=0.4,
            ignore_iof_thr=-1,
        ),
        ga_sampler=dict(
            type='RandomSampler',
            num=256,
            pos_fraction=0.5,
            neg_pos_ub=-1,
            add_gt_as_proposals=False,
        ),
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0.0,
            ignore_iof_thr=-1,
        ),
        sampler=dict(type='PseudoSampler'),
        center_ratio=0.2,
        ignore_ratio=0.5,
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    ),
)

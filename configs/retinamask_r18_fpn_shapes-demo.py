# The config of `make demo`: faster than retinamask_r18_fpn_shapes, with .07
# less box AP. It took 141 s with emulated AVX2; the other took 5.4 to 6
# minutes with AVX-512. It is tuned to these shapes: for your own data inherit
# from retinamask_r18_fpn_shapes.
#
#   retina-plus make-data shapes data/shapes
#   mim train mmdet configs/retinamask_r18_fpn_shapes-demo.py
#
# What to expect: docs/results.md.
_base_ = './retinamask_r18_fpn_shapes.py'

model = dict(
    # No shape is longer than 88 px: P3 and P4 suffice, and three stages.
    backbone=dict(
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(0, 1, 2),
    ),
    neck=dict(in_channels=[16, 32, 64], num_outs=2),
    bbox_head=dict(
        # Squares of 24 to 76 px; nine in ten shapes have the area of one of
        # 22 to 79. Each location learns three kinds of anchors, not nine.
        anchor_generator=dict(
            octave_base_scale=3, ratios=[1.0], strides=[8, 16]
        ),
        norm_cfg=dict(type='GN', num_groups=8, requires_grad=True),
        loss_bbox=dict(loss_weight=4.0),
    ),
    roi_head=dict(
        mask_roi_extractor=dict(
            featmap_strides=[8, 16], roi_layer=dict(sampling_ratio=1)
        ),
        mask_head=dict(
            loss_mask=dict(
                type='CrossEntropyLoss', use_mask=True, loss_weight=3.0
            )
        ),
        train_cfg=dict(sampler=dict(num=6)),
    ),
    # Few steps leave boxes that are better than their scores.
    test_cfg=dict(
        nms=dict(
            _delete_=True,
            type='soft_nms',
            method='gaussian',
            iou_threshold=0.5,
            sigma=0.7,
            min_score=0.02,
        )
    ),
)

# Crops keep the scale of the objects and drop much of the background. They
# replace Resize, since the images already have 256 px.
train_pipeline = _base_.train_pipeline
train_pipeline[2:3] = [
    dict(
        type='RandomCrop',
        crop_size=(160, 160),
        recompute_bbox=True,
        allow_negative_crop=True,
    ),
    # Slivers of objects at a crop's border match no anchor well.
    dict(type='FilterAnnotations', min_gt_bbox_wh=(10, 10), keep_empty=False),
]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
# Boxes are drawn in the colours that the classes are named after.
palette = [(224, 48, 48), (240, 208, 32), (32, 168, 64), (48, 80, 240)]
val_dataloader = dict(dataset=dict(metainfo=dict(palette=palette)))
test_dataloader = val_dataloader

# The mean of the last hundred steps' weights, so that steps may stay large.
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='EMAHook',
        ema_type='ExponentialMovingAverage',
        momentum=0.01,
        update_buffers=True,
    ),
]
train_cfg = dict(max_iters=780, val_interval=780)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3, betas=(0.9, 0.99), fused=True))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=40),
    dict(type='CosineAnnealingLR', by_epoch=False, eta_min=5e-4),
]
auto_scale_lr = dict(base_batch_size=4)

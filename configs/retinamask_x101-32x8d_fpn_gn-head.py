# RetinaMask X-101-32x8d-FPN with GroupNorm, 24 epochs at eleven sizes. Weights
# and their pixel normalisation are those of mmdet's Mask R-CNN X-101-32x8d.
#
#   mim train mmdet configs/retinamask_x101-32x8d_fpn_gn-head.py
#
# Published: 42.6 box and 37.4 mask AP (README of
# github.com/chengyangfu/retinamask, which names no split). We have not run it
# on COCO.
_base_ = './retinamask_r101_fpn_gn-head.py'

model = dict(
    data_preprocessor=dict(std=[57.375, 57.120, 58.395]),
    backbone=dict(
        type='ResNeXt',
        groups=32,
        base_width=8,
        style='pytorch',
        init_cfg=dict(checkpoint='open-mmlab://detectron2/resnext101_32x8d'),
    ),
)

train_pipeline = _base_.train_pipeline
train_pipeline[2].scales = [
    (1333, short)
    for short in (640, 672, 704, 736, 768, 800, 840, 880, 920, 960, 1000)
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

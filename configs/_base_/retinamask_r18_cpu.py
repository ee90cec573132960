# A small RetinaMask that two CPU cores train from scratch in minutes, for
# `model = _base_.retinamask` with retinanet_r18_cpu.py; and its test-time
# augmentation, two scales, each mirrored (`mim test … --tta`).
_base_ = './retinamask.py'

retinamask = _base_.retinamask
# The weight of the RetinaNet of this size.
retinamask.bbox_head.loss_bbox.loss_weight = 1.0
retinamask.roi_head.mask_roi_extractor.out_channels = 64
retinamask.roi_head.mask_head.update(
    num_convs=2, in_channels=64, conv_out_channels=32
)

tta_model = dict(
    type='MaskTTAModel',
    tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.4), max_per_img=100),
)
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=(256, 256), keep_ratio=True),
                dict(type='Resize', scale=(320, 320), keep_ratio=True),
            ],
            [
                dict(type='RandomFlip', prob=0.0),
                dict(type='RandomFlip', prob=1.0),
            ],
            [dict(type='LoadAnnotations', with_bbox=True)],
            [dict(type='PackDetInputs')],
        ],
    ),
]

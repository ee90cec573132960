# RetinaMask on generated shapes, from scratch on a CPU: what `make demo` runs.
#
#   retina-plus make-data shapes data/shapes
#   mim train mmdet configs/retinamask_r18_fpn_shapes.py
#
# Inherit from it for a COCO-format set of your own with masks: replace the
# data sets' `data_root` and `metainfo`, the evaluators' `ann_file`, and both
# `num_classes`, of bbox_head and of roi_head.mask_head.
_base_ = ['./retinanet_r18_fpn_shapes.py', './_base_/retinamask.py']

model = _base_.retinamask
model.bbox_head.loss_bbox.loss_weight = 1.0
model.roi_head.mask_roi_extractor.out_channels = 64
model.roi_head.mask_head = dict(
    type='FCNMaskHead',
    num_convs=2,
    in_channels=64,
    conv_out_channels=64,
    num_classes=4,
)

train_pipeline = _base_.train_pipeline
train_pipeline[1].with_mask = True
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_pipeline = _base_.test_pipeline
test_pipeline[2].with_mask = True
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = val_evaluator

# `mim test mmdet CONFIG --checkpoint FILE --tta`: two scales, each mirrored.
tta_model = dict(
    type='MaskTTAModel',
    tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
)
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=(side, side), keep_ratio=True)
                for side in (256, 320)
            ],
            [
                dict(type='RandomFlip', prob=0.0),
                dict(type='RandomFlip', prob=1.0),
            ],
            [dict(type='LoadAnnotations', with_bbox=True, with_mask=True)],
            [dict(type='PackDetInputs')],
        ],
    ),
]

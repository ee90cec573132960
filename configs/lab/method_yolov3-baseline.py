# YOLOv3 as ASFF trains it (arXiv 1911.09516, section 3.1): mixup that weighs
# the objectness, label smoothing, an IoU loss beside those of coordinates,
# guided anchors with a free one, SyncBN, changing image sizes, no mixup in the
# last tenth of the training, cosine schedule. Not included: spatial pyramid
# pooling, DropBlock.
#
#   mim train mmdet configs/lab/method_yolov3-baseline.py
_base_ = './method_yolov3.py'

# The authors' levels; mmdet's finest one has half as many channels.
yolo_levels = [2 * _base_.lab_width, _base_.lab_width, _base_.lab_width]
model = dict(
    data_preprocessor=dict(
        batch_augments=[
            dict(type='BatchMixUp', alpha=1.5, stop_at=0.9),
            dict(
                type='BatchSyncRandomResize',
                random_size_range=(
                    _base_.lab_size * 320 // 608,
                    _base_.lab_size,
                ),
            ),
        ]
    ),
    neck=dict(out_channels=yolo_levels),
    bbox_head=dict(
        type='GuidedYOLOV3Head',
        in_channels=yolo_levels,
        out_channels=[
            4 * _base_.lab_width,
            2 * _base_.lab_width,
            _base_.lab_width,
        ],
        # As for the authors' 80 classes. The inverse of the number of classes
        # would give targets of .75 and .25 with two classes.
        one_hot_smoother=1 / 80,
        loss_xy=dict(loss_weight=1.0),
        loss_wh=dict(type='L1Loss', loss_weight=1.0),
        loss_bbox=dict(type='IoULoss', mode='square'),
        loss_anchor=dict(type='IoULoss', mode='square'),
    ),
    test_cfg=dict(nms=dict(iou_threshold=0.65)),
)
sync_bn = 'torch'
# After the warm-up of the data file, over the length of its training.
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='CosineAnnealingLR', by_epoch=False, eta_min=1e-5),
]

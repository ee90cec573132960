# YOLOv3 (arXiv 1804.02767): its neck and head on C3 to C5, one positive per
# object by the best shape; negatives whose predicted box overlaps an object by
# more than .7 are ignored. Its priors for 416 pixels, scaled to the images.
#
#   mim train mmdet configs/lab/method_yolov3.py
_base_ = '../_base_/lab_detector.py'

yolo_levels = [2 * _base_.lab_width, _base_.lab_width, _base_.lab_width // 2]
yolo_loss = dict(type='CrossEntropyLoss', use_sigmoid=True, reduction='sum')
model = dict(
    type='YOLOV3',
    backbone=dict(out_indices=(1, 2, 3)),
    neck=dict(
        _delete_=True,
        type='YOLOV3Neck',
        num_scales=3,
        in_channels=_base_.lab_channels[:0:-1],
        out_channels=yolo_levels,
    ),
    bbox_head=dict(
        type='YOLOV3PlusHead',
        in_channels=yolo_levels,
        out_channels=[2 * channels for channels in yolo_levels],
        anchor_generator=dict(
            type='YOLOAnchorGenerator',
            base_sizes=[
                [
                    (w * _base_.lab_size / 416, h * _base_.lab_size / 416)
                    for w, h in level
                ]
                for level in (
                    [(116, 90), (156, 198), (373, 326)],
                    [(30, 61), (62, 45), (59, 119)],
                    [(10, 13), (16, 30), (33, 23)],
                )
            ],
            strides=[32, 16, 8],
        ),
        mining=dict(type='PredictedIoUIgnore', iou_thr=0.7),
        loss_cls=yolo_loss,
        loss_conf=yolo_loss,
        loss_xy=dict(yolo_loss, loss_weight=2.0),
        loss_wh=dict(type='MSELoss', loss_weight=2.0, reduction='sum'),
    ),
    train_cfg=dict(assigner=dict(type='BestPriorAssigner')),
    test_cfg=dict(conf_thr=0.005, nms=dict(iou_threshold=0.45)),
)

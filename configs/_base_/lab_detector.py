# Settings of all one-stage detectors of configs/lab/method_*.py.
_base_ = '../lab/data.py'

model = dict(
    data_preprocessor=_base_.lab_preprocessor,
    backbone=_base_.lab_backbone,
    neck=_base_.lab_neck,
    bbox_head=dict(num_classes=_base_.num_classes),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=100,
    ),
)

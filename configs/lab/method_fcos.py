# FCOS (arXiv 1904.01355) with its later improvements: positives within 1.5
# strides of an object's centre, distances in strides, GIoU, centreness beside
# the box branch.
#
#   mim train mmdet configs/lab/method_fcos.py
#
# The first version, whose positives fill the box:
#   --cfg-options model.bbox_head.center_sampling=False
_base_ = '../_base_/lab_towers.py'

model = dict(
    type='FCOS',
    bbox_head=dict(
        type='FCOSHead',
        strides=[8, 16, 32, 64, 128],
        regress_ranges=_base_.lab_ranges,
        center_sampling=True,
        center_sample_radius=1.5,
        norm_on_bbox=True,
        centerness_on_reg=True,
        conv_bias=True,
        loss_cls=dict(type='FusedFocalLoss', use_sigmoid=True),
        loss_bbox=dict(type='GIoULoss', loss_weight=1.0),
        loss_centerness=dict(
            type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0
        ),
    ),
    test_cfg=dict(nms=dict(iou_threshold=0.6)),
)

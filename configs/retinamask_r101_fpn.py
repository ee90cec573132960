# RetinaMask R-101-FPN, 24 epochs at three sizes.
#
#   mim train mmdet configs/retinamask_r101_fpn.py
#
# Published: 41.4 box and 36.6 mask AP (README of
# github.com/chengyangfu/retinamask; the abstract has these boxes on test-dev).
# We have not run it on COCO.
_base_ = './retinamask_r50_fpn.py'

model = dict(
    backbone=dict(
        depth=101,
        init_cfg=dict(checkpoint='open-mmlab://detectron2/resnet101_caffe'),
    )
)

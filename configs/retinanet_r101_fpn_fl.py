# RetinaNet R-101-FPN, COCO 1x. mmdet's zoo lists 38.5 box AP for its own
# retinanet_r101_fpn_1x_coco. We have not run it on COCO.
#
#   mim train mmdet configs/retinanet_r101_fpn_fl.py
_base_ = './retinanet_r50_fpn_fl.py'

model = dict(
    backbone=dict(
        depth=101,
        init_cfg=dict(checkpoint='torchvision://resnet101'),
    )
)

# RetinaNet R-50-FPN with Detectron's weights, stride and pixel normalisation.
# mmdet's zoo lists 36.3 box AP for its own retinanet_r50-caffe_fpn_1x_coco.
# We have not run it on COCO.
#
#   mim train mmdet configs/retinanet_r50-caffe_fpn_fl.py
_base_ = './retinanet_r50_fpn_fl.py'

model = dict(
    data_preprocessor=dict(
        mean=[103.530, 116.280, 123.675],
        std=[1.0, 1.0, 1.0],
        bgr_to_rgb=False,
    ),
    backbone=dict(
        norm_cfg=dict(requires_grad=False),
        style='caffe',
        init_cfg=dict(checkpoint='open-mmlab://detectron2/resnet50_caffe'),
    ),
)

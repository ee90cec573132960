# ASFF (arXiv 1911.09516) on its baseline: the three levels of YOLOv3's neck
# are fused with weights per pixel. The 3x3 convolution that follows in the
# authors' code is the first of the head.
#
#   mim train mmdet configs/lab/method_yolo-asff.py
_base_ = './method_yolov3-baseline.py'

model = dict(
    neck=[
        dict(**_base_.model.neck),
        dict(
            type='ASFF',
            in_channels=_base_.yolo_levels,
            coarsest_first=True,
            own_level_start=None,
            norm_cfg=dict(type='BN'),
        ),
    ]
)

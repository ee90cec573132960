# Like _atss, with one square anchor of eight strides per location, as in ATSS.
#
#   mim train mmdet configs/retinanet_r50_fpn_atss-a1.py
_base_ = './retinanet_r50_fpn_atss.py'

model = dict(
    bbox_head=dict(
        anchor_generator=dict(
            octave_base_scale=8, scales_per_octave=1, ratios=[1.0]
        )
    )
)

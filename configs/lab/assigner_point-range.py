# FCOS's rule (https://arxiv.org/abs/1904.01355) for RetinaNet's nine anchors:
# positive where the centre lies inside an object whose sides are as far as the
# level's range says, the smallest object first; no ignore band.
#
#   mim train mmdet configs/lab/assigner_point-range.py
_base_ = './assigner_max-iou.py'

model = dict(
    train_cfg=dict(
        assigner=dict(
            _delete_=True,
            type='PointRangeAssigner',
            regress_ranges=_base_.lab_ranges,
            center_sample_radius=None,
        )
    )
)

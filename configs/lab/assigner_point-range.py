# FCOS's assignment (https://arxiv.org/abs/1904.01355) for RetinaNet's nine
# anchors: positive where the centre lies inside an object and the distance to
# its farthest side is in the range of the level; the smallest object wins.
# There is no ignore band.
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

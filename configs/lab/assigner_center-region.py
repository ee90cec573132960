# FSAF's assignment (https://arxiv.org/abs/1903.00621) by mmdet's
# CenterRegionAssigner, without choosing a level by its loss: an anchor of any
# level is positive if it overlaps the central fifth of an object. It builds a
# matrix of anchors and objects.
#
#   mim train mmdet configs/lab/assigner_center-region.py
_base_ = './assigner_max-iou.py'

model = dict(
    train_cfg=dict(
        assigner=dict(
            _delete_=True,
            type='CenterRegionAssigner',
            pos_scale=0.2,
            neg_scale=0.2,
        )
    )
)

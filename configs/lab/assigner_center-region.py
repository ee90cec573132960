# FSAF's rule (https://arxiv.org/abs/1903.00621) by mmdet's assigner, without
# its choice of a level by the loss: positive on every level where the anchor
# touches the middle fifth of an object. mmdet holds a matrix of anchors and
# objects for it.
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

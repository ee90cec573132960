# RetinaNet with ATSS's assigner (https://arxiv.org/abs/1912.02424) and nothing
# else of ATSS. `topk` counts anchors: with nine per location, topk=9 is one
# location per level; `topk_per_location=True` makes it nine locations.
#
#   mim train mmdet configs/retinanet_r50_fpn_atss.py
_base_ = './retinanet_r50_fpn_fl.py'

model = dict(
    train_cfg=dict(
        assigner=dict(
            _delete_=True,
            type='StreamingATSSAssigner',
            topk=9,
            topk_per_location=True,
        )
    )
)

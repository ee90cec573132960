# ATSS (https://arxiv.org/abs/1912.02424): an IoU threshold per object, the
# mean plus the standard deviation of its candidates, which are the anchors at
# the nine nearest places of each level; positives have their centre inside.
#
#   mim train mmdet configs/lab/assigner_atss.py
_base_ = './assigner_max-iou.py'

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

# ATSS (https://arxiv.org/abs/1912.02424). The candidates of an object are the
# anchors at the nine nearest locations of each level. Positive are those
# inside the object whose IoU reaches the candidates' mean plus one standard
# deviation.
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

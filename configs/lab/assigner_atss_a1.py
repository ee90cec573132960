# ATSS's assignment with one square anchor per location, boxes regressed from
# the anchor; see assigner_max-iou_a1.py.
#
#   mim train mmdet configs/lab/assigner_atss_a1.py
_base_ = './assigner_max-iou_a1.py'

model = dict(
    train_cfg=dict(
        assigner=dict(
            _delete_=True,
            type='StreamingATSSAssigner',
            topk=9,
        )
    )
)

# All three parts of Libra R-CNN (https://arxiv.org/abs/1904.02701) on
# RetinaNet: IoU-balanced sampling, balanced L1 loss and balanced feature
# pyramid. The values of the last two are those of mmdet's libra-retinanet,
# which keeps focal loss over all anchors instead of the first.
#
# Classification loss: cross entropy. Divisor of both losses: the number of
# sampled anchors, positives and negatives.
#
#   mim train mmdet configs/lab/method_libra-retinanet.py
_base_ = './assigner_iou-balanced.py'

model = dict(
    neck=[
        _base_.lab_neck,
        dict(
            type='BFP',
            in_channels=_base_.lab_width,
            num_levels=5,
            refine_level=1,
            refine_type='non_local',
        ),
    ],
    bbox_head=dict(
        loss_bbox=dict(
            _delete_=True,
            type='BalancedL1Loss',
            alpha=0.5,
            gamma=1.5,
            beta=0.11,
        )
    ),
)

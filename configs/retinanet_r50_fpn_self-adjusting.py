# RetinaMask's self-adjusting smooth L1 (https://arxiv.org/abs/1901.03353) on a
# plain RetinaNet. Its cap of .11 belongs to box deltas divided by the stds
# below, its divisor of 4 per positive to a weight of .25.
#
#   mim train mmdet configs/retinanet_r50_fpn_self-adjusting.py
_base_ = './retinanet_r50_fpn_fl.py'

model = dict(
    bbox_head=dict(
        bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_bbox=dict(
            _delete_=True,
            type='SelfAdjustingSmoothL1Loss',
            beta=0.11,
            loss_weight=0.25,
        ),
    )
)

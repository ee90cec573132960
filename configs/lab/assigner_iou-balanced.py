# Libra R-CNN's sampling (https://arxiv.org/abs/1904.02701): as _random-sampler
# has it, but positives are drawn evenly over the objects and negatives over
# three thirds of their IoU. Its box loss and neck are in method_libra.py.
#
# Classification loss: cross entropy. Divisor of both losses: the anchors that
# were drawn, positives and negatives.
#
#   mim train mmdet configs/lab/assigner_iou-balanced.py
_base_ = './assigner_random-sampler.py'

model = dict(
    train_cfg=dict(
        sampler=dict(
            _delete_=True,
            type='CombinedSampler',
            num=256,
            pos_fraction=0.5,
            add_gt_as_proposals=False,
            pos_sampler=dict(type='InstanceBalancedPosSampler'),
            neg_sampler=dict(type='LibraNegSampler', num_bins=3),
        )
    )
)

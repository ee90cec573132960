# Libra R-CNN's sampling (https://arxiv.org/abs/1904.02701): like
# assigner_random-sampler.py, but positives are drawn evenly over objects and
# negatives evenly over three bins of IoU. method_libra-retinanet.py adds its
# box loss and its neck.
#
# Classification loss: cross entropy. Divisor of both losses: the number of
# sampled anchors, positives and negatives.
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

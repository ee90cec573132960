# Retina U-Net's strategy (https://arxiv.org/abs/1811.08661), stochastic hard
# example mining: for P positives, train P negatives drawn from the 20 P
# hardest.
#
# Classification loss: half of a cross entropy of sigmoids, where Retina U-Net
# uses a softmax. Divisor of both losses: the number of positives.
#
#   mim train mmdet configs/lab/assigner_shem.py
_base_ = './assigner_max-iou.py'

model = dict(
    bbox_head=dict(
        # Focal loss with gamma 0 and no alpha is cross entropy.
        loss_cls=dict(gamma=0.0, alpha=None, loss_weight=0.5),
        mining=[
            dict(type='StochasticHardMining', pool_size=20, use_sigmoid=True)
        ],
    )
)

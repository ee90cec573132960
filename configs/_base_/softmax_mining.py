# Classifier of Retina U-Net, https://arxiv.org/abs/1811.08661: a softmax with
# a background channel on as many hard negatives as positives. Its loss is half
# the sum of two means. For `model.bbox_head.update(_base_.softmax_mining)`.
softmax_mining = dict(
    loss_cls=dict(
        _delete_=True,
        type='CrossEntropyLoss',
        use_sigmoid=False,
        loss_weight=0.5,
    ),
    mining=dict(type='StochasticHardMining', pool_size=20),
    # Positives and negatives are equally many, so there is no prior.
    init_cfg=dict(type='Normal', layer='Conv2d', std=0.01),
)

# Two classifiers, for `model.bbox_head.update(_base_.softmax_mining)`, or the
# other. Retina U-Net's (https://arxiv.org/abs/1811.08661) is a softmax with a
# background channel on as many hard negatives as positives; its loss is half
# the sum of two means. RetinaNet's weighs all anchors by a focal loss.
softmax_mining = dict(
    loss_cls=dict(
        _delete_=True,
        type='CrossEntropyLoss',
        use_sigmoid=False,
        loss_weight=0.5,
    ),
    # Lists, since mmengine replaces these as a whole.
    mining=[dict(type='StochasticHardMining', pool_size=20)],
    # Positives and negatives are equally many, so there is no prior.
    init_cfg=[dict(type='Normal', layer='Conv2d', std=0.01)],
)
sigmoid_focal = dict(
    loss_cls=dict(_delete_=True, type='FusedFocalLoss', use_sigmoid=True),
    mining=[],
    init_cfg=[
        dict(
            type='Normal',
            layer='Conv2d',
            std=0.01,
            override=dict(
                type='Normal', name='retina_cls', std=0.01, bias_prob=0.01
            ),
        )
    ],
)

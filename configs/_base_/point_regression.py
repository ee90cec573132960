# Regress the distances from a point to the sides of the box, in units of the
# anchor's side: `model.bbox_head.update(_base_.point_regression)`.
point_regression = dict(
    bbox_coder=dict(_delete_=True, type='TBLRBBoxCoder', normalizer=1.0),
    # Start with distances of half a side, which is the anchor itself. With
    # distances around 0, half of the predicted boxes would be inverted.
    init_cfg=dict(
        type='Normal',
        layer='Conv2d',
        std=0.01,
        override=[
            dict(type='Normal', name='retina_cls', std=0.01, bias_prob=0.01),
            dict(type='Normal', name='retina_reg', std=0.01, bias=0.5),
        ],
    ),
)

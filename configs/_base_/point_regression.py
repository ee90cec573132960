# Boxes by the distances from a point to their sides, in sides of the anchor at
# this place, for `model.bbox_head.update(_base_.point_regression)`.
point_regression = dict(
    bbox_coder=dict(_delete_=True, type='TBLRBBoxCoder', normalizer=1.0),
    # All distances begin with half a side: a training starts with the anchors,
    # as with deltas of 0, and not with boxes inside out.
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

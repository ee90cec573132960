# Retina U-Net of the paper (https://arxiv.org/abs/1811.08661): pixel
# supervision, boxes on P2 to P5 with its anchors, for `model =
# _base_.pixel_supervision`. Its classifier is in classifiers.py.
# docs/retinaunet.md lists the differences from paper and released code.
_base_ = './pixel_supervision.py'

pixel_supervision = _base_.pixel_supervision
pixel_supervision.neck.update(
    start_level=2,
    add_extra_convs=False,
    num_outs=4,
    decoder_channels=[64, 128],
)
pixel_supervision.update(
    bbox_head=dict(
        # The paper's 4, 8, 16 and 32 pixels on P2 to P5.
        anchor_generator=dict(octave_base_scale=1, strides=[4, 8, 16, 32]),
        bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_bbox=dict(type='SmoothL1Loss', beta=1.0),
    ),
    train_cfg=dict(assigner=dict(neg_iou_thr=0.1)),
)

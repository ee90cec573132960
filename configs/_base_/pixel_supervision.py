# Retina U-Net's pixel supervision (https://arxiv.org/abs/1811.08661) on a
# RetinaNet whose levels P3 to P7, anchors and losses stay as they are: P0 to
# P2 above them, for `model = _base_.pixel_supervision`.
pixel_supervision = dict(
    data_preprocessor=dict(pad_seg=True, seg_pad_value=255),
    backbone=dict(type='StemResNet', c0_channels=32),
    neck=dict(
        type='UNetFPN',
        in_channels=[32, 64, 256, 512, 1024, 2048],
        start_level=3,
        decoder_channels=[64, 128, 256],
    ),
    # The first level of the neck is P0.
    bbox_start_level=1,
    semantic_head=dict(
        type='UNetSemanticHead', num_classes=80, in_channels=64
    ),
)

# Retina U-Net's pixel supervision for `model = _base_.retinaunet` beside
# retinanet_r18_cpu.py: P0 to P2 on top of its P3 to P7, its anchors and losses
# as they are, so that P0 is all that differs.
retinaunet = dict(
    data_preprocessor=dict(pad_seg=True, seg_pad_value=255),
    backbone=dict(type='StemResNet', c0_channels=8),
    neck=dict(
        type='UNetFPN',
        in_channels=[8, 16, 16, 32, 64, 128],
        start_level=3,
        decoder_channels=[8, 16, 32],
    ),
    bbox_start_level=1,
    semantic_head=dict(type='UNetSemanticHead', in_channels=8),
)

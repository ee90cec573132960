# Pixel supervision shrunk as retinanet_r18_cpu.py is.
_base_ = './pixel_supervision.py'

pixel_supervision = _base_.pixel_supervision
pixel_supervision.backbone.c0_channels = 8
pixel_supervision.neck.update(
    in_channels=[8, 16, 16, 32, 64, 128], decoder_channels=[8, 16, 32]
)
pixel_supervision.semantic_head.in_channels = 8

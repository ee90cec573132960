# Channels of the pyramid and of the towers, and convolutions of a tower.
# RetinaNet has 256 and 4. We have not run it on COCO.
config = '../retinanet_r50_fpn_fl.py'
prefix = 'model.'
points = [
    {
        'neck.out_channels': channels,
        'bbox_head.in_channels': channels,
        'bbox_head.feat_channels': channels,
        'bbox_head.stacked_convs': convs,
    }
    for channels in [128, 256]
    for convs in [2, 4, 6]
]

# Depth of the backbone at RetinaNet's full size; `scale_depth.py` has smaller
# images, too. We have not run it on COCO.
config = '../retinanet_r50_fpn_fl.py'
prefix = 'model.backbone.'
points = [
    {
        'depth': depth,
        'init_cfg.checkpoint': f'torchvision://resnet{depth}',
    }
    for depth in [50, 101, 152]
]

# Shorter side of the images, in training and test, and depth of the backbone.
# Table 1e of the focal loss paper (https://arxiv.org/abs/1708.02002), COCO
# test-dev, with milliseconds per image on its authors' M40:
#
#          R-50                    R-101
#   side   AP/AP50/AP75      ms    AP/AP50/AP75      ms
#   400    30.5/47.8/32.7    64    31.9/49.5/34.1    81
#   500    32.5/50.9/34.8    72    34.4/53.1/36.8    90
#   600    34.3/53.2/36.9    98    36.0/55.2/38.7   122
#   700    35.1/54.2/37.7   121    37.1/56.6/39.8   154
#   800    35.7/55.0/38.5   153    37.8/57.5/40.8   198
#
# The longer side is at most 5/3 of the shorter, mmdet's proportion. We have
# not run it on COCO.
config = '../retinanet_r50_fpn_fl.py'
prefix = ''
points = [
    {
        'model.backbone.depth': depth,
        'model.backbone.init_cfg.checkpoint': f'torchvision://resnet{depth}',
        'train_dataloader.dataset.pipeline.2.scale': scale,
        'val_dataloader.dataset.pipeline.1.scale': scale,
        'test_dataloader.dataset.pipeline.1.scale': scale,
    }
    for depth in [50, 101]
    for scale in [
        (667, 400),
        (833, 500),
        (1000, 600),
        (1167, 700),
        (1333, 800),
    ]
]

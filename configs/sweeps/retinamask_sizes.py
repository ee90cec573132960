# Shorter side of the images, in training and test, 1.5x.
#
# The authors have files of 400, 500, 600 and 800 for R-50; that of 500 holds
# 400/667, a copying error, while their R-101 file of 500 holds 500/833; only
# R-101 has a file of 700. Their repository names no result; in its issue 10
# they mention about 15 images a second for R-50 at 400 and 500.
config = '../retinamask_r50_fpn_1.5x.py'
prefix = ''
points = [
    {
        'train_dataloader.dataset.pipeline.2.scale': scale,
        'val_dataloader.dataset.pipeline.1.scale': scale,
        'test_dataloader.dataset.pipeline.1.scale': scale,
    }
    for scale in [
        (667, 400),
        (833, 500),
        (1000, 600),
        (1167, 700),
        (1333, 800),
    ]
]

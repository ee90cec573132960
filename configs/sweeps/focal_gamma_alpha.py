# Focal loss: each gamma with its best alpha. Table 1b of the focal loss paper
# (https://arxiv.org/abs/1708.02002), R-50 at 600 px, minival, AP/AP50/AP75:
#
#   gamma  alpha
#   0      .75    31.1/49.4/33.0, which is cross entropy
#   .1     .75    31.4/49.9/33.1
#   .2     .75    31.9/50.7/33.4
#   .5     .50    32.9/51.7/35.2
#   1      .25    33.7/52.0/36.2
#   2      .25    34.0/52.5/36.5
#   5      .25    32.2/49.6/34.8
#
# Our config has 800 px. We have not run it on COCO.
config = '../retinanet_r50_fpn_fl.py'
prefix = 'model.bbox_head.loss_cls.'
points = [
    dict(gamma=0.0, alpha=0.75),
    dict(gamma=0.1, alpha=0.75),
    dict(gamma=0.2, alpha=0.75),
    dict(gamma=0.5, alpha=0.5),
    dict(gamma=1.0, alpha=0.25),
    dict(gamma=2.0, alpha=0.25),
    dict(gamma=5.0, alpha=0.25),
]

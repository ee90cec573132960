# Cross entropy, focal loss and FL*, whose gamma and beta are a slope and a
# shift. Table 3 of the focal loss paper (https://arxiv.org/abs/1708.02002),
# R-50 at 600 px, minival, AP/AP50/AP75:
#
#   CE                   31.1/49.4/33.0
#   FL, gamma 2          34.0/52.5/36.5
#   FL*, gamma 2 beta 1  33.8/52.7/36.3
#   FL*, gamma 4 beta 0  33.9/51.8/36.4
#
# Cross entropy has alpha .75 and focal loss .25, whose rows in table 1b are
# the same; FL* has none here. Our config has 800 px. We have not run it on
# COCO.
config = '../retinanet_r50_fpn_fl.py'
prefix = 'model.bbox_head.loss_cls.'
points = [
    dict(gamma=0.0, alpha=0.75),
    dict(gamma=2.0, alpha=0.25),
    dict(type='FocalLossStar', gamma=2.0, beta=1.0, alpha=None),
    dict(type='FocalLossStar', gamma=4.0, beta=0.0, alpha=None),
]

# Cross entropy weighed by alpha, which is focal loss of gamma 0. Table 1a of
# the focal loss paper (https://arxiv.org/abs/1708.02002), R-50 at 600 px,
# minival, AP/AP50/AP75:
#
#   alpha
#   .10    0.0/0.0/0.0
#   .25   10.8/16.0/11.7
#   .50   30.2/46.7/32.8
#   .75   31.1/49.4/33.0
#   .90   30.8/49.7/32.3
#   .99   28.7/47.4/29.9
#   .999  25.1/41.7/26.1
#
# Our config has 800 px. We have not run it on COCO.
config = '../retinanet_r50_fpn_fl.py'
prefix = 'model.bbox_head.loss_cls.'
product = dict(gamma=[0.0], alpha=[0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999])

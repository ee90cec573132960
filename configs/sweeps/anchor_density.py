# Anchors per place: scales per octave times ratios. Table 1c of the focal loss
# paper (https://arxiv.org/abs/1708.02002), R-50 at 600 px, minival,
# AP/AP50/AP75; RetinaNet has three of each:
#
#   scales  one ratio       three ratios
#   1       30.3/49.0/31.8  32.4/52.3/33.9
#   2       31.9/50.0/34.0  34.2/53.1/36.5
#   3       31.8/49.4/33.7  34.0/52.5/36.5
#   4                       33.8/52.1/36.2
#
# Our config has 800 px. We have not run it on COCO.
config = '../retinanet_r50_fpn_fl.py'
prefix = 'model.bbox_head.anchor_generator.'
points = [dict(scales_per_octave=4, ratios=[0.5, 1.0, 2.0])]
product = dict(scales_per_octave=[1, 2, 3], ratios=[[1.0], [0.5, 1.0, 2.0]])

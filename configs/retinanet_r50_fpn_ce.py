# Cross entropy in place of focal loss: gamma 0, with the best alpha of table
# 1a in the focal loss paper (.75), where it reaches 31.1 AP on minival at 600
# px, focal loss 34.0. We have not run it on COCO.
#
#   mim train mmdet configs/retinanet_r50_fpn_ce.py
_base_ = './retinanet_r50_fpn_fl.py'

model = dict(bbox_head=dict(loss_cls=dict(gamma=0.0, alpha=0.75)))

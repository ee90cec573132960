# Control of the strategies that choose negatives: RetinaNet's assignment and
# all anchors, as in assigner_max-iou.py, under their loss.
#
# Classification loss: cross entropy of sigmoids. Divisor of both losses: the
# number of positives.
#
#   mim train mmdet configs/lab/assigner_cross-entropy.py
_base_ = './assigner_max-iou.py'

# Focal loss with gamma 0 and no alpha is cross entropy.
model = dict(bbox_head=dict(loss_cls=dict(gamma=0.0, alpha=None)))

# Control of assigner_negative-ratio.py: SSD's positives and loss with all
# negatives, so that the difference between the two is that of mining.
#
# Classification loss: cross entropy of sigmoids. Divisor of both losses: the
# number of positives.
#
#   mim train mmdet configs/lab/assigner_all-negatives.py
_base_ = './assigner_negative-ratio.py'

model = dict(bbox_head=dict(mining=None))

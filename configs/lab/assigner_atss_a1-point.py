# As assigner_atss_a1.py, boxes regressed from the point by the
# distances to their sides.
#
#   mim train mmdet configs/lab/assigner_atss_a1-point.py
_base_ = ['./assigner_atss_a1.py', '../_base_/point_regression.py']

model = dict(bbox_head=_base_.point_regression)

# assigner_point-range_a1.py with boxes regressed from the point: the distances
# to their four sides.
#
#   mim train mmdet configs/lab/assigner_point-range_a1-point.py
_base_ = ['./assigner_point-range_a1.py', '../_base_/point_regression.py']

model = dict(bbox_head=_base_.point_regression)

# FCOS's assignment with centre sampling: only within 1.5 strides of the
# object's centre.
#
#   mim train mmdet configs/lab/assigner_point-range-radius.py
_base_ = './assigner_point-range.py'

model = dict(train_cfg=dict(assigner=dict(center_sample_radius=1.5)))

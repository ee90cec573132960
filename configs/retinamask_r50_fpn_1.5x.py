# RetinaMask R-50-FPN for 18 epochs, the schedule of the authors' files for one
# image size each; sweeps/retinamask_sizes.py has the sizes. Beside these they
# have one with a fixed beta of .11.
#
#   mim train mmdet configs/retinamask_r50_fpn_1.5x.py
#
# The authors' repository names no result for 1.5x. We have not run it on COCO.
_base_ = './retinamask_r50_fpn_1x.py'

train_cfg = dict(max_epochs=18)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=18, milestones=[12, 16])

# RetinaMask R-50-FPN, the authors' release: 24 epochs at three sizes.
#
#   mim train mmdet configs/retinamask_r50_fpn.py
#
# Published: 39.4 box and 34.9 mask AP on test-dev (README of
# github.com/chengyangfu/retinamask, whose issue 3 names the split), 39.0 and
# 34.5 on val2017 (issue 3). We have not run it on COCO.
_base_ = './retinamask_r50_fpn_1x.py'

train_pipeline = _base_.train_pipeline
train_pipeline[2] = dict(
    type='RandomChoiceResize',
    scales=[(1333, 640), (1333, 800), (1333, 1000)],
    keep_ratio=True,
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
train_cfg = dict(max_epochs=24)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=24, milestones=[16, 22])

# RetinaMask R-50-FPN (https://arxiv.org/abs/1901.03353), COCO 1x, as its
# authors train it: Detectron's weights, all BN frozen, LR .01 per 16 images.
# Their 1x file fixes the box loss's beta at .11, which is a point of
# sweeps/self_adjusting_cap.py; all of ours adjust it.
#
#   mim train mmdet configs/retinamask_r50_fpn_1x.py
#
# The authors' repository names no result for 1x. We have not run it on COCO.
_base_ = ['./retinanet_r50-caffe_fpn_fl.py', './_base_/retinamask.py']

model = _base_.retinamask

# The authors crop polygons and draw each crop at 28 x 28, as
# `--cfg-options train_dataloader.dataset.pipeline.1.poly2mask=False` does. It
# is not the default because mmdet then silently skips every object whose mask
# is run-length encoded.
train_pipeline = _base_.train_pipeline
train_pipeline[1].with_mask = True
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_pipeline = _base_.test_pipeline
test_pipeline[2].with_mask = True
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = val_evaluator

# All parameters named bias, also those of GroupNorm, which bias_lr_mult skips.
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={'.bias': dict(lr_mult=2.0, decay_mult=0.0)}
    )
)
param_scheduler = _base_.param_scheduler
param_scheduler[0].start_factor = 1 / 3

tta_model = dict(
    type='MaskTTAModel', tta_cfg=dict(nms=dict(iou_threshold=0.4))
)

# RetinaMask on generated shapes, from scratch on a CPU.
#
#   retina-plus make-data shapes data/shapes
#   mim train mmdet configs/retinamask_r18_fpn_shapes.py
#
# Inherit from it for a COCO-format set of your own with masks: replace the
# data sets' `data_root` and `metainfo`, the evaluators' `ann_file`, and both
# `num_classes`, of bbox_head and of roi_head.mask_head. What to expect:
# docs/results.md.
_base_ = ['./retinanet_r18_fpn_shapes.py', './_base_/retinamask_r18_cpu.py']

model = _base_.retinamask
model.roi_head.mask_head.num_classes = 4

train_pipeline = _base_.train_pipeline
train_pipeline[1].with_mask = True
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_pipeline = _base_.test_pipeline
test_pipeline[2].with_mask = True
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = val_evaluator

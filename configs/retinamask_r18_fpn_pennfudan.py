# RetinaMask on the 170 photographs of Penn-Fudan (COCO format), from scratch
# on a CPU. With the set in $ROOT (images/, instances_train.json and
# instances_val.json):
#
#   mim train mmdet configs/retinamask_r18_fpn_pennfudan.py --cfg-options \
#     {train,val,test}_dataloader.dataset.data_root=$ROOT \
#     {val,test}_evaluator.ann_file=$ROOT/instances_val.json
#
# What to expect: docs/results.md.
_base_ = [
    './retinanet_r18_fpn_pennfudan.py',
    './_base_/retinamask_r18_cpu.py',
]

model = _base_.retinamask
model.roi_head.mask_head.update(num_classes=1, conv_out_channels=64)

train_pipeline = _base_.train_pipeline
train_pipeline[1].with_mask = True
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_pipeline = _base_.test_pipeline
test_pipeline[2].with_mask = True
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = val_evaluator
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='Resize', scale=(320, 320), keep_ratio=True),
    dict(type='Resize', scale=(384, 384), keep_ratio=True),
]

train_cfg = dict(max_iters=1200, val_interval=1200)

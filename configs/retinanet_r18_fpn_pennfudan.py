# RetinaNet on the 170 photographs of Penn-Fudan (COCO format), from scratch on
# a CPU. With the set in $ROOT (images/, instances_train.json and
# instances_val.json):
#
#   mim train mmdet configs/retinanet_r18_fpn_pennfudan.py --cfg-options \
#     {train,val,test}_dataloader.dataset.data_root=$ROOT \
#     {val,test}_evaluator.ann_file=$ROOT/instances_val.json
#
# What to expect: docs/results.md.
_base_ = './retinanet_r18_fpn_shapes.py'

model = dict(
    backbone=dict(base_channels=32),
    neck=dict(in_channels=[32, 64, 128, 256]),
    bbox_head=dict(num_classes=1),
)

metainfo = dict(classes=('person',))
data_root = 'data/pennfudan/'
ann_file = data_root + 'instances_val.json'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=[(256, 256), (384, 384)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackDetInputs'),
]
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (320, 320)
dataset = dict(data_root=data_root, metainfo=metainfo)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **dataset))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **dataset))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=ann_file)
test_evaluator = val_evaluator

train_cfg = dict(max_iters=800, val_interval=800)

# The strategy lab on the 170 photographs of Penn-Fudan in data/pennfudan/
# (images/, instances_train.json, instances_val.json); elsewhere, with $ROOT:
#
#   --cfg-options {train,val,test}_dataloader.dataset.data_root=$ROOT \
#     {val,test}_evaluator.ann_file=$ROOT/instances_val.json
_base_ = './lab_shapes.py'

num_classes = 1
lab_size = 256
lab_backbone = dict(base_channels=32)
lab_channels = [32, 64, 128, 256]
lab_neck = dict(in_channels=lab_channels)

metainfo = dict(classes=('person',))
data_root = 'data/pennfudan/'
ann_file = data_root + 'instances_val.json'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=[(192, 192), (256, 256)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackDetInputs'),
]
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (256, 256)
dataset = dict(data_root=data_root, metainfo=metainfo)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **dataset))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **dataset))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=ann_file)
test_evaluator = val_evaluator

# retinanet_r18_fpn_shapes on images that keep their size, for generated sets
# of any size.
_base_ = '../retinanet_r18_fpn_shapes.py'

train_pipeline = _base_.train_pipeline
train_pipeline[2] = dict(type='Resize', scale_factor=1.0, keep_ratio=True)
test_pipeline = _base_.test_pipeline
test_pipeline[1] = train_pipeline[2]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

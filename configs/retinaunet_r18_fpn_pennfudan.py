# Retina U-Net on the 170 photographs of Penn-Fudan (COCO format), from scratch
# on a CPU. With the set in $ROOT (images/, instances_train.json and
# instances_val.json):
#
#   mim train mmdet configs/retinaunet_r18_fpn_pennfudan.py --cfg-options \
#     {train,val,test}_dataloader.dataset.data_root=$ROOT \
#     {val,test}_evaluator.ann_file=$ROOT/instances_val.json
#
# What to expect: docs/results.md.
_base_ = [
    './retinanet_r18_fpn_pennfudan.py',
    './_base_/pixel_supervision_r18_cpu.py',
]

model = _base_.pixel_supervision
model.neck.in_channels = [8, 32, 32, 64, 128, 256]
model.semantic_head.num_classes = 1

train_pipeline = _base_.train_pipeline
train_pipeline[1].with_mask = True
train_pipeline.insert(-1, dict(type='PaintInstances', keep_masks=False))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# Draws `pred_sem_seg`, which `model.test_cfg.with_seg=True` asks for.
visualizer = dict(type='SemSegLocalVisualizer')

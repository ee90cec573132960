# Retina U-Net on generated shapes, from scratch on a CPU.
#
#   retina-plus make-data shapes data/shapes
#   mim train mmdet configs/retinaunet_r18_fpn_shapes.py
#
# Inherit from it for a COCO-format set of your own with masks: replace the
# data sets' `data_root` and `metainfo`, the evaluators' `ann_file`, and both
# `num_classes`, of bbox_head and of semantic_head.
_base_ = [
    './retinanet_r18_fpn_shapes.py',
    './_base_/pixel_supervision_r18_cpu.py',
]

model = _base_.pixel_supervision
model.semantic_head.num_classes = 4

train_pipeline = _base_.train_pipeline
train_pipeline[1].with_mask = True
train_pipeline.insert(-1, dict(type='PaintInstances', keep_masks=False))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# Draws `pred_sem_seg`, which `model.test_cfg.with_seg=True` asks for.
visualizer = dict(type='SemSegLocalVisualizer')

# Retina U-Net on its toy set, discs with and without a hole, from scratch on a
# CPU: retinanet_r18_fpn_donuts.py and pixel supervision.
#
#   retina-plus make-data donuts data/donuts --preset donuts-2x --size 160
#   mim train mmdet configs/retinaunet_r18_fpn_donuts.py
#
# What to expect: docs/results.md.
_base_ = [
    './retinanet_r18_fpn_donuts.py',
    './_base_/pixel_supervision_r18_cpu.py',
]

model = _base_.pixel_supervision
model.neck.update(
    in_channels=[8, 16, 16, 32, 64, 128],
    start_level=2,
    decoder_channels=[8, 16],
)
model.semantic_head.num_classes = 2

train_pipeline = _base_.train_pipeline
train_pipeline[1].with_mask = True
train_pipeline.insert(-1, dict(type='PaintInstances', keep_masks=False))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# Draws `pred_sem_seg`, which `model.test_cfg.with_seg=True` asks for.
visualizer = dict(type='SemSegLocalVisualizer')

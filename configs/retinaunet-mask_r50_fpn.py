# RetinaMask with Retina U-Net's pixel supervision: both use masks, one per
# object, the other per pixel. Boxes and masks are RetinaMask's.
#
#   mim train mmdet configs/retinaunet-mask_r50_fpn.py
#
# There is no published result of this union, and we have not run it on COCO.
_base_ = ['./retinamask_r50_fpn.py', './_base_/pixel_supervision.py']

model = _base_.pixel_supervision
# P0 comes first.
model.roi_head = dict(start_level=1)
# Detectron's weights want pixels of 0 to 255, which C0 is not trained for.
model.backbone.c0_norm_cfg = dict(type='GN', num_groups=8)

train_pipeline = _base_.train_pipeline
train_pipeline.insert(-1, dict(type='PaintInstances'))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# Draws `pred_sem_seg`, which `model.test_cfg.with_seg=True` asks for.
visualizer = dict(type='SemSegLocalVisualizer')

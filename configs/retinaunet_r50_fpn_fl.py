# Pixel supervision on RetinaNet: its levels P3 to P7, anchors, focal loss and
# assigner, and P0 to P2 of Retina U-Net.
#
#   mim train mmdet configs/retinaunet_r50_fpn_fl.py
#
# There is no published result on COCO, and we have not run it there.
_base_ = ['./retinanet_r50_fpn_fl.py', './_base_/pixel_supervision.py']

model = _base_.pixel_supervision

train_pipeline = _base_.train_pipeline
train_pipeline[1].with_mask = True
train_pipeline.insert(-1, dict(type='PaintInstances', keep_masks=False))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# Draws `pred_sem_seg`, which `model.test_cfg.with_seg=True` asks for.
visualizer = dict(type='SemSegLocalVisualizer')

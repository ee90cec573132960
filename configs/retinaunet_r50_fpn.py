# Retina U-Net R-50-FPN (https://arxiv.org/abs/1811.08661) with the paper's
# levels, anchors and classifier, in COCO's 1x schedule.
#
#   mim train mmdet configs/retinaunet_r50_fpn.py
#
# Its anchors, 4 to 51 pixels long before their ratio, are those of lesions.
# For objects of COCO's sizes take retinaunet_r50_fpn_fl.py. There is no
# published result on COCO, and we have not run it there.
_base_ = [
    './retinanet_r50_fpn_fl.py',
    './_base_/retinaunet.py',
    './_base_/classifiers.py',
]

model = _base_.pixel_supervision
model.bbox_head.update(_base_.softmax_mining)

train_pipeline = _base_.train_pipeline
train_pipeline[1].with_mask = True
train_pipeline.insert(-1, dict(type='PaintInstances', keep_masks=False))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# Draws `pred_sem_seg`, which `model.test_cfg.with_seg=True` asks for.
visualizer = dict(type='SemSegLocalVisualizer')

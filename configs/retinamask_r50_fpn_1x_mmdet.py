# RetinaMask with mmdet's settings, to compare with mmdet's own 1x models: the
# mask branch and the self-adjusting loss, with its stds, on mmdet's 1x recipe.
# That is torchvision's weights, trainable BN affines, P6 from C5 without ReLU,
# RoIAlign as in mmdet's Mask R-CNN, bitmaps, low-quality matches that train
# the object they were matched for, NMS at .5, one learning rate. The authors'
# recipe is retinamask_r50_fpn_1x.py.
#
#   mim train mmdet configs/retinamask_r50_fpn_1x_mmdet.py
#
# We have not run it on COCO.
_base_ = ['./retinanet_r50_fpn_fl.py', './_base_/retinamask.py']

model = _base_.retinamask
del model['neck'], model['train_cfg'], model['test_cfg']
model.roi_head.mask_roi_extractor.roi_layer.update(
    sampling_ratio=0, aligned=True
)

train_pipeline = _base_.train_pipeline
train_pipeline[1].with_mask = True
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_pipeline = _base_.test_pipeline
test_pipeline[2].with_mask = True
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = val_evaluator
tta_model = dict(type='MaskTTAModel')

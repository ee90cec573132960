# RetinaNet on generated shapes, from scratch on a CPU.
#
#   retina-plus make-data shapes data/shapes
#   mim train mmdet configs/retinanet_r18_fpn_shapes.py
#
# Inherit from it for a COCO-format set of your own: replace the data sets'
# `data_root` and `metainfo`, the evaluators' `ann_file`, and `num_classes`.
_base_ = [
    './_base_/retinanet_r18_cpu.py',
    './_base_/coco_folder.py',
    './_base_/cpu_schedule.py',
    'mmdet::_base_/default_runtime.py',
    './_base_/plugin.py',
]

model = dict(bbox_head=dict(num_classes=4))
metainfo = dict(classes=('red', 'yellow', 'green', 'blue'))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader

default_hooks = dict(
    # Log validations by step; otherwise backends draw all of them at 0.
    logger=dict(interval=10, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=100),
)
log_processor = dict(by_epoch=False)

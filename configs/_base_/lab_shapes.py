# The strategy lab on generated shapes: data, schedule and settings that all
# detectors share. A run from scratch takes about three minutes on a CPU.
#
#   retina-plus make-data shapes data/lab --size 192
#
# The environment variable LAB_SHAPES names another folder in data/, of another
# preset: lab-tiny has objects of 4 to 9 px in images of 96 px, which detectors
# see at twice that, lab-crowded some eighty objects per image.
#
#   retina-plus make-data shapes data/lab-tiny --preset tiny --size 96
#   retina-plus make-data shapes data/lab-crowded --preset crowded --size 192
#
# Configs read the variables below as `_base_.lab_backbone` etc.; a data file
# of your own for configs/lab/data.py must set the same ones.
_base_ = [
    './coco_folder.py',
    './cpu_schedule.py',
    'mmdet::_base_/default_runtime.py',
    './plugin.py',
    './lab_common.py',
]

num_classes = 4
# Shorter side of the images at test time, which scales the priors of SSD and
# YOLOv3.
lab_size = 192
lab_backbone = dict(
    depth=18, base_channels=16, frozen_stages=-1, norm_eval=False
)
# Channels of C2 to C5; channels of P3 to P7 and of the towers; convolutions
# per tower.
lab_channels = [16, 32, 64, 128]
lab_width = 64
lab_convs = 2
lab_neck = dict(in_channels=lab_channels, out_channels=lab_width)
# RoIs per image that train the second stage of two-stage detectors. 512 as on
# COCO would make a step 15 times as slow as RetinaNet's on a CPU.
lab_rois = 128
# Lengths that depend on the data: the side of a single square anchor in
# strides, and FCOS's ranges for P3 to P7 in pixels. Both are half of the
# papers' values, which are for images of 800 pixels.
lab_square = 4
lab_ranges = [(-1, 32), (32, 64), (64, 128), (128, 256), (256, 1e8)]

data_root = 'data/{{$LAB_SHAPES:lab}}/'
ann_file = data_root + 'instances_val.json'
metainfo = dict(classes=('red', 'yellow', 'green', 'blue'))
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (192, 192)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (192, 192)
dataset = dict(data_root=data_root, metainfo=metainfo)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **dataset))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **dataset))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=ann_file)
test_evaluator = val_evaluator

train_cfg = dict(max_iters=400, val_interval=400)
default_hooks = dict(
    # Log validations by step; otherwise backends draw all of them at 0.
    logger=dict(interval=10, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=400),
)
log_processor = dict(by_epoch=False)

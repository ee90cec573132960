# The strategy lab on COCO in data/coco/: R-50, 1x schedule, 8 GPUs x 2 images.
# The variables are those of lab_shapes.py.
_base_ = [
    'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
    './plugin.py',
    './lab_common.py',
]

num_classes = 80
lab_size = 800
lab_backbone = dict(
    depth=50,
    frozen_stages=1,
    norm_eval=True,
    init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
)
# Channels of C2 to C5; channels of P3 to P7 and of the towers; convolutions
# per tower.
lab_channels = [256, 512, 1024, 2048]
lab_width = 256
lab_convs = 4
lab_neck = dict(in_channels=lab_channels, out_channels=lab_width)
# RoIs per image that train the second stage of two-stage detectors.
lab_rois = 512
# Side of a single square anchor in strides, as in ATSS, and FCOS's ranges for
# P3 to P7 in pixels.
lab_square = 8
lab_ranges = [(-1, 64), (64, 128), (128, 256), (256, 512), (512, 1e8)]

# All configs share the schedule, so all clip gradients: IoU losses need it at
# the start of training.
optim_wrapper = dict(
    optimizer=dict(lr=0.01), clip_grad=dict(max_norm=10.0, norm_type=2)
)

# A small benchmark that distinguishes focal loss from cross entropy: twelve
# classes and three fine levels with nine anchors per location give about
# 30,000 background logits per object logit, as on COCO. It measures how fast
# and how reliably a training starts to detect, not its final AP.
#
#   retina-plus make-data shapes data/imbalanced \
#     --preset imbalanced --num-val 120
#   mim train mmdet configs/retinanet_r18_fpn-p2-p4_imbalanced.py
#
# The class is the colour, so texture does not matter.
_base_ = './_base_/retinanet_r18_unscaled.py'

model = dict(
    backbone=dict(
        base_channels=8,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(0, 1, 2),
    ),
    neck=dict(
        in_channels=[8, 16, 32],
        out_channels=24,
        start_level=0,
        add_extra_convs=False,
        num_outs=3,
    ),
    bbox_head=dict(
        num_classes=12,
        in_channels=24,
        feat_channels=24,
        anchor_generator=dict(strides=[4, 8, 16]),
    ),
)

# One per hue of the data's colour wheel.
metainfo = dict(
    classes=(
        'red',
        'orange',
        'yellow',
        'chartreuse',
        'green',
        'spring-green',
        'cyan',
        'azure',
        'blue',
        'violet',
        'magenta',
        'rose',
    )
)
data_root = 'data/imbalanced/'
ann_file = data_root + 'instances_val.json'
dataset = dict(data_root=data_root, metainfo=metainfo)
auto_scale_lr = dict(base_batch_size=4)
train_dataloader = dict(batch_size=4, dataset=dataset)
val_dataloader = dict(batch_size=4, dataset=dataset)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=ann_file)
test_evaluator = val_evaluator

train_cfg = dict(max_iters=400, val_interval=100)

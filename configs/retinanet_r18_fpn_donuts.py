# RetinaNet on Retina U-Net's toy set, discs with and without a hole, from
# scratch on a CPU: its levels P2 to P5 and its classifier, but no pixel
# supervision.
#
#   retina-plus make-data donuts data/donuts --preset donuts-2x --size 160
#   mim train mmdet configs/retinanet_r18_fpn_donuts.py
#
# The discs have about the size of those of the authors' code, 40 pixels. By
# default, make-data draws those of the paper's text, 20 pixels in images of
# 320, whose holes take more than these 500 steps to learn. What to expect:
# docs/results.md.
_base_ = ['./_base_/retinanet_r18_unscaled.py', './_base_/classifiers.py']

model = dict(
    neck=dict(start_level=0, add_extra_convs=False, num_outs=4),
    bbox_head=dict(
        num_classes=2,
        # Twice those of the authors' code, so that discs fall to a level on
        # which their hole is one cell wide.
        anchor_generator=dict(octave_base_scale=4, strides=[4, 8, 16, 32]),
        **_base_.softmax_mining,
    ),
)

metainfo = dict(classes=('disc', 'donut'))
data_root = 'data/donuts/'
ann_file = data_root + 'instances_val.json'
dataset = dict(data_root=data_root, metainfo=metainfo)
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=ann_file)
test_evaluator = val_evaluator

train_cfg = dict(max_iters=500, val_interval=500)

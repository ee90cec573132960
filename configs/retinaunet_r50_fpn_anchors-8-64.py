# Retina U-Net with the anchors of its authors' released code, twice as large
# as the paper's: 8, 16, 32 and 64 pixels on P2 to P5.
#
#   mim train mmdet configs/retinaunet_r50_fpn_anchors-8-64.py
#
# There is no published result on COCO, and we have not run it there.
_base_ = './retinaunet_r50_fpn.py'

model = dict(bbox_head=dict(anchor_generator=dict(octave_base_scale=2)))

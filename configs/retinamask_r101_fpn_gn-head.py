# RetinaMask R-101-FPN with GroupNorm in the towers and in the FPN, but neither
# on P6 and P7 nor in the mask head. The backbone's BN stays frozen.
#
#   mim train mmdet configs/retinamask_r101_fpn_gn-head.py
#
# Published: 41.7 box and 36.7 mask AP (README of
# github.com/chengyangfu/retinamask; the abstract has these boxes on test-dev).
# We have not run it on COCO.
_base_ = './retinamask_r101_fpn.py'

norm_cfg = dict(type='GN', num_groups=32, requires_grad=True)
model = dict(
    neck=dict(type='NormFPN', norm_cfg=norm_cfg, no_norm_on_extra_convs=True),
    bbox_head=dict(norm_cfg=norm_cfg),
)

# RetinaNet as in the focal loss paper (https://arxiv.org/abs/1708.02002),
# where mmdet differs: ReLU before P7, smooth L1 boxes, 90,000 steps with the
# learning rate divided by 10 at 60,000 and 80,000. docs/retinanet.md lists the
# differences.
#
#   mim train mmdet configs/retinanet_r50_fpn_fl-paper.py
#
# The paper trains no anchor below IoU .5. mmdet, Detectron2 and RetinaMask
# train the best anchor of an object as well, and so does this config. As the
# paper:
#
#   --cfg-options model.train_cfg.assigner.match_low_quality=False
#
# We have not run it on COCO.
_base_ = [
    'mmdet::retinanet/retinanet_r50_fpn_90k_coco.py',
    './_base_/plugin.py',
]

model = dict(
    type='RetinaPlus',
    neck=dict(relu_before_extra_convs=True),
    bbox_head=dict(
        type='RetinaPlusHead',
        loss_cls=dict(type='FusedFocalLoss'),
        # The paper gives no beta; this one is that of RetinaMask's authors.
        loss_bbox=dict(_delete_=True, type='SmoothL1Loss', beta=0.11),
    ),
    train_cfg=dict(assigner=dict(type='StreamingMaxIoUAssigner')),
)

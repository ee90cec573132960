# Cross entropy from the usual initialisation, without the prior of .01 in the
# classifier's bias. The focal loss paper (section 4.1) reports that this
# diverges; CheckInvalidLossHook stops the run when the loss is not finite. We
# have not run it on COCO.
#
#   mim train mmdet configs/retinanet_r50_fpn_ce-no-prior.py
_base_ = './retinanet_r50_fpn_ce.py'

model = dict(
    bbox_head=dict(
        init_cfg=dict(type='Normal', layer='Conv2d', std=0.01, override=None),
    )
)

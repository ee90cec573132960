# OHEM (https://arxiv.org/abs/1604.03540) as in the focal loss paper: train the
# 128 anchors of highest loss per image, after NMS at IoU .5, the best row of
# its table 1d.
#
# Classification loss: cross entropy, divided by the number of selected
# anchors. The box loss covers all positives and is divided by their number.
#
#   mim train mmdet configs/lab/assigner_ohem.py
_base_ = './assigner_max-iou.py'

model = dict(
    bbox_head=dict(
        # Focal loss with gamma 0 and no alpha is cross entropy.
        loss_cls=dict(gamma=0.0, alpha=None),
        mining=[dict(type='DenseOHEM', num=128, iou_threshold=0.5)],
    )
)

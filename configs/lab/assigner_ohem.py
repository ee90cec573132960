# OHEM (https://arxiv.org/abs/1604.03540) as the focal loss paper compares it:
# of RetinaNet's positives and negatives the 128 of highest loss, after NMS at
# IoU .5, the best row of its table.
#
# Classification loss: cross entropy, divided by the anchors selected. Boxes
# are trained on all positives and divided by their number.
#
#   mim train mmdet configs/lab/assigner_ohem.py
_base_ = './assigner_max-iou.py'

model = dict(
    bbox_head=dict(
        # Focal loss with gamma 0 and unweighed classes is cross entropy.
        loss_cls=dict(gamma=0.0, alpha=None),
        mining=[dict(type='DenseOHEM', num=128, iou_threshold=0.5)],
    )
)

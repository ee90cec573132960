# SSD's strategy (https://arxiv.org/abs/1512.02325): positive from IoU .5,
# background below, each object keeps its first best anchor. Train the three
# hardest negatives per positive, and three in images without positives.
#
# Classification loss: cross entropy of sigmoids, where SSD uses a softmax.
# Divisor of both losses: the number of positives.
#
#   mim train mmdet configs/lab/assigner_negative-ratio.py
_base_ = './assigner_max-iou.py'

model = dict(
    bbox_head=dict(
        # Focal loss with gamma 0 and no alpha is cross entropy.
        loss_cls=dict(gamma=0.0, alpha=None),
        mining=[dict(type='NegativeRatioMining', ratio=3.0, min_neg=3)],
    ),
    train_cfg=dict(
        assigner=dict(
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0.0,
            gt_max_assign_all=False,
        )
    ),
)

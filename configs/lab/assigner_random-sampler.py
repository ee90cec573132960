# The strategy of Faster R-CNN's RPN (https://arxiv.org/abs/1506.01497):
# positive from IoU .7, background below .3, each object keeps its best anchor
# from IoU .3. Train 256 random anchors per image, at most half of them
# positive.
#
# Classification loss: cross entropy. Divisor of both losses: the number of
# sampled anchors, positives and negatives.
#
#   mim train mmdet configs/lab/assigner_random-sampler.py
_base_ = './assigner_max-iou.py'

model = dict(
    # Focal loss with gamma 0 and no alpha is cross entropy.
    bbox_head=dict(loss_cls=dict(gamma=0.0, alpha=None)),
    train_cfg=dict(
        assigner=dict(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3),
        sampler=dict(
            _delete_=True,
            type='RandomSampler',
            num=256,
            pos_fraction=0.5,
            neg_pos_ub=-1,
            add_gt_as_proposals=False,
        ),
    ),
)

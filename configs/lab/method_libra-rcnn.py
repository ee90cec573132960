# Libra R-CNN (arXiv 1904.02701): Faster R-CNN with a balanced feature pyramid,
# negatives drawn evenly over three bins of IoU, balanced L1.
#
#   mim train mmdet configs/lab/method_libra-rcnn.py
_base_ = './method_faster-rcnn.py'

model = dict(
    neck=[
        dict(**_base_.model.neck),
        dict(
            type='BFP',
            in_channels=_base_.lab_width,
            num_levels=5,
            refine_level=2,
            refine_type='non_local',
        ),
    ],
    roi_head=dict(
        bbox_head=dict(
            loss_bbox=dict(
                _delete_=True,
                type='BalancedL1Loss',
                alpha=0.5,
                gamma=1.5,
                beta=1.0,
            )
        )
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(neg_pos_ub=5)),
        rcnn=dict(
            sampler=dict(
                _delete_=True,
                type='CombinedSampler',
                num=_base_.lab_rois,
                pos_fraction=0.25,
                add_gt_as_proposals=True,
                pos_sampler=dict(type='InstanceBalancedPosSampler'),
                neg_sampler=dict(
                    type='LibraNegSampler',
                    floor_thr=-1,
                    floor_fraction=0,
                    num_bins=3,
                ),
            )
        ),
    ),
)

# SSD's head (arXiv 1512.02325) on six levels of the pyramid, P3 to P8: boxes
# of SSD300 with scales .2 to .9, scaled to the image size; IoU .5 without an
# ignore band, one best anchor per object; the three hardest negatives per
# positive. An image without objects trains nothing.
#
#   mim train mmdet configs/lab/method_ssd.py
_base_ = '../_base_/lab_detector.py'

model = dict(
    type='SingleStageDetector',
    neck=dict(num_outs=6),
    bbox_head=dict(
        type='SSDPlusHead',
        in_channels=(_base_.lab_width,) * 6,
        anchor_generator=dict(
            type='SSDAnchorGenerator',
            scale_major=False,
            strides=[8, 16, 32, 64, 128, 256],
            ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]],
            # Result of input_size=300 and basesize_ratio_range=(0.2, 0.9).
            min_sizes=[
                size * _base_.lab_size / 300
                for size in (30, 60, 111, 162, 213, 264)
            ],
            max_sizes=[
                size * _base_.lab_size / 300
                for size in (60, 111, 162, 213, 264, 315)
            ],
        ),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2]
        ),
    ),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0.0,
            ignore_iof_thr=-1,
            gt_max_assign_all=False,
        ),
        sampler=dict(type='PseudoSampler'),
        smoothl1_beta=1.0,
        allowed_border=-1,
        pos_weight=-1,
        neg_pos_ratio=3,
        debug=False,
    ),
    # 100 detections per image like all others, in place of SSD's 200.
    test_cfg=dict(score_thr=0.02, nms=dict(iou_threshold=0.45)),
)

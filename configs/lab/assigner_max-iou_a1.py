# RetinaNet's thresholds with one square anchor a location, about the middle of
# its cell, and GIoU on decoded boxes: the first entry of ATSS's table
# (https://arxiv.org/abs/1912.02424) of {IoU thresholds, FCOS's rule, ATSS} by
# {box, point regression}, which are the files `assigner_*_a1*`. Here boxes are
# regressed from the anchor.
#
#   mim train mmdet configs/lab/assigner_max-iou_a1.py
_base_ = './assigner_max-iou.py'

model = dict(
    bbox_head=dict(
        anchor_generator=dict(
            octave_base_scale=_base_.lab_square,
            scales_per_octave=1,
            ratios=[1.0],
            center_offset=0.5,
        ),
        # Compares boxes, so that both ways to regress them have the same loss.
        reg_decoded_bbox=True,
        loss_bbox=dict(_delete_=True, type='GIoULoss', loss_weight=2.0),
    )
)

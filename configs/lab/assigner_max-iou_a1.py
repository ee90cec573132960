# RetinaNet's assignment with one square anchor per location, at the centre of
# the cell, and GIoU loss on decoded boxes. The `assigner_*_a1*` configs are
# ATSS's table (https://arxiv.org/abs/1912.02424): {IoU thresholds, FCOS, ATSS}
# x {box, point regression}. This one regresses boxes from the anchor.
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
        # A loss on boxes is the same for both kinds of regression.
        reg_decoded_bbox=True,
        loss_bbox=dict(_delete_=True, type='GIoULoss', loss_weight=2.0),
    )
)

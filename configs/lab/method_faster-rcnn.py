# Faster R-CNN with FPN (arXiv 1506.01497, 1612.03144): P2 to P6, RPN .7/.3/.3
# with 256 anchors, half of them positive, R-CNN .5/.5/.5 with a quarter of the
# RoIs positive. The data file says how many RoIs, 512 on COCO.
#
#   mim train mmdet configs/lab/method_faster-rcnn.py
_base_ = ['mmdet::_base_/models/faster-rcnn_r50_fpn.py', './data.py']

model = dict(
    data_preprocessor=_base_.lab_preprocessor,
    backbone=dict(_delete_=True, **_base_.lab_backbone),
    neck=dict(in_channels=_base_.lab_channels, out_channels=_base_.lab_width),
    rpn_head=dict(
        in_channels=_base_.lab_width, feat_channels=_base_.lab_width
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=_base_.lab_width),
        bbox_head=dict(
            in_channels=_base_.lab_width,
            fc_out_channels=4 * _base_.lab_width,
            num_classes=_base_.num_classes,
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(max_per_img=2 * _base_.lab_rois),
        rcnn=dict(sampler=dict(num=_base_.lab_rois)),
    ),
    test_cfg=dict(rpn=dict(max_per_img=2 * _base_.lab_rois)),
)

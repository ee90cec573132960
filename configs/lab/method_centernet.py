# CenterNet (Objects as Points, arXiv 1904.07850): one positive point per
# object at stride 4, a Gaussian of reduced penalty around it, no NMS. Its own
# neck, three transposed convolutions of C5.
#
#   mim train mmdet configs/lab/method_centernet.py
_base_ = '../_base_/lab_detector.py'

model = dict(
    type='CenterNet',
    neck=dict(
        _delete_=True,
        type='CTResNetNeck',
        in_channels=_base_.lab_channels[-1],
        num_deconv_filters=(256, 128, 64),
        num_deconv_kernels=(4, 4, 4),
        use_dcn=False,
    ),
    bbox_head=dict(
        type='CenterNetPlusHead',
        in_channels=64,
        feat_channels=64,
        loss_center_heatmap=dict(type='GaussianFocalLoss', loss_weight=1.0),
        loss_wh=dict(type='L1Loss', loss_weight=0.1),
        loss_offset=dict(type='L1Loss', loss_weight=1.0),
    ),
    test_cfg=dict(
        _delete_=True, topk=100, local_maximum_kernel=3, max_per_img=100
    ),
)

# Levels of the pyramid: RetinaNet's P3 to P7, one less at the top, one more at
# the bottom, and C5 alone with a 1x1 and a 3x3 convolution, whose 15 scales
# have the sizes of all five levels. The focal loss paper
# (https://arxiv.org/abs/1708.02002), section 4, says that the last level alone
# has a low AP, without a figure. We have not run it on COCO.
config = '../retinanet_r50_fpn_fl.py'
prefix = 'model.'
points = [
    {'neck.num_outs': 5},
    {
        'neck.num_outs': 4,
        'bbox_head.anchor_generator.strides': [8, 16, 32, 64],
    },
    {
        'neck.num_outs': 6,
        'neck.start_level': 0,
        'bbox_head.anchor_generator.strides': [4, 8, 16, 32, 64, 128],
    },
    {
        'neck.num_outs': 1,
        'neck.start_level': 3,
        'bbox_head.anchor_generator': dict(
            _delete_=True,
            type='AnchorGenerator',
            # 32 to 813 px.
            scales=[2 ** (third / 3) for third in range(15)],
            ratios=[0.5, 1.0, 2.0],
            strides=[32],
        ),
    },
]

"""Narrow heads of every kind whose assignment is read, and their features."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.registry import MODELS
from torch import Tensor

from tests.helpers.models import head_config
from tests.helpers.samples import data_sample, pyramid

SIDE = 128
"""Width and height of the images, in pixels."""
OBJECTS = [
    ((4, 4, 40, 36), 0),
    ((20, 24, 60, 60), 2),
    ((50, 60, 120, 124), 1),
    # Twice the same, to be told apart.
    ((80, 8, 112, 40), 1),
    ((80, 8, 112, 40), 1),
]
SETTINGS: dict[str, dict] = {
    'RetinaHead': {},
    'RetinaPlusHead': {},
    'ATSSHead': {
        'anchor_generator': dict(
            type='AnchorGenerator',
            ratios=[1.0],
            octave_base_scale=8,
            scales_per_octave=1,
            strides=[8, 16, 32, 64, 128],
        ),
        'train_cfg.assigner': dict(_delete_=True, type='ATSSAssigner', topk=9),
        'loss_bbox': dict(type='GIoULoss'),
        'norm_cfg': None,
    },
    'FCOSHead': {
        'strides': [8, 16, 32, 64, 128],
        'loss_bbox': dict(type='IoULoss'),
        'norm_cfg': None,
    },
    'SSDHead': {},
    'GARetinaHead': {
        'loss_bbox': dict(type='SmoothL1Loss', beta=0.04),
        'bbox_coder': dict(type='DeltaXYWHBBoxCoder'),
        'approx_anchor_generator': dict(
            type='AnchorGenerator',
            octave_base_scale=4,
            scales_per_octave=3,
            ratios=[0.5, 1.0, 2.0],
            strides=[8, 16, 32, 64, 128],
        ),
        'square_anchor_generator': dict(
            type='AnchorGenerator',
            ratios=[1.0],
            scales=[4],
            strides=[8, 16, 32, 64, 128],
        ),
        'train_cfg.ga_assigner': dict(
            type='ApproxMaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.4,
            min_pos_iou=0.4,
        ),
        'train_cfg.ga_sampler': dict(
            type='RandomSampler',
            num=256,
            pos_fraction=0.5,
            add_gt_as_proposals=False,
        ),
        'train_cfg.center_ratio': 0.2,
        'train_cfg.ignore_ratio': 0.5,
    },
}
SSD = dict(
    type='SSDHead',
    num_classes=3,
    in_channels=(8,) * 5,
    anchor_generator=dict(
        type='SSDAnchorGenerator',
        scale_major=False,
        min_sizes=[16, 32, 48, 64, 96],
        max_sizes=[32, 48, 64, 96, 128],
        strides=[8, 16, 32, 64, 128],
        ratios=[[2], [2, 3], [2, 3], [2, 3], [2]],
        input_size=SIDE,
    ),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0.0,
            gt_max_assign_all=False,
        ),
        smoothl1_beta=1.0,
        allowed_border=-1,
        pos_weight=-1,
        neg_pos_ratio=3,
        debug=False,
    ),
)
YOLO = dict(
    type='YOLOV3Head',
    num_classes=3,
    in_channels=(8, 8, 8),
    out_channels=(8, 8, 8),
    anchor_generator=dict(
        type='YOLOAnchorGenerator',
        base_sizes=[
            [(116, 90), (156, 198), (373, 326)],
            [(30, 61), (62, 45), (59, 119)],
            [(10, 13), (16, 30), (33, 23)],
        ],
        strides=[32, 16, 8],
    ),
    train_cfg=dict(
        assigner=dict(
            type='GridAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0,
        )
    ),
)
CENTERNET = dict(
    type='CenterNetHead',
    num_classes=3,
    in_channels=8,
    feat_channels=8,
    test_cfg=dict(topk=100, local_maximum_kernel=3, max_per_img=100),
)
SAPD = dict(
    type='SAPDHead',
    num_classes=3,
    in_channels=8,
    feat_channels=8,
    stacked_convs=1,
    norm_cfg=None,
)
OF_THEIR_OWN = {
    'SAPDHead': SAPD,
    'SSDHead': SSD,
    'YOLOV3Head': YOLO,
    'CenterNetHead': CENTERNET,
    'YOLOV3PlusHead': YOLO
    | dict(
        type='YOLOV3PlusHead',
        mining=dict(type='PredictedIoUIgnore', iou_thr=0.2),
        train_cfg=dict(assigner=dict(type='BestPriorAssigner')),
    ),
    'GuidedYOLOV3Head': YOLO
    | dict(
        type='GuidedYOLOV3Head',
        train_cfg=dict(assigner=dict(type='BestPriorAssigner')),
    ),
}
ALL = (*SETTINGS, *OF_THEIR_OWN)


def assigned_head(kind: str, **changes) -> Any:
    """A head in training mode, whose layers keep their statistics."""
    if kind in OF_THEIR_OWN:
        config: dict = OF_THEIR_OWN[kind] | changes
    else:
        config = head_config(type=kind, **SETTINGS[kind], **changes)
    head = MODELS.build(config)
    head.init_weights()
    head.eval()
    head.training = True
    return head


def scene(kind: str, objects: Sequence = OBJECTS) -> tuple:
    """Random features for a head, and the sample of one image."""
    sample = data_sample(objects, (SIDE, SIDE))
    if kind == 'CenterNetHead':
        return (torch.randn(1, 8, SIDE // 4, SIDE // 4),), [sample]
    features: tuple[Tensor, ...] = pyramid(1, shape=(SIDE, SIDE))
    if 'YOLO' in kind:
        features = features[2::-1]
    return features, [sample]

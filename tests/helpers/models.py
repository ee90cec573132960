"""Heads and detectors that are narrow, for quick steps."""

from pathlib import Path

from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict

import mmdet_retina_plus

RETINAMASK = Config.fromfile(
    Path(mmdet_retina_plus.config('retinanet_r50_fpn_fl')).parent
    / '_base_'
    / 'retinamask.py'
).retinamask
"""The shipped mask branch, a fragment of configs."""


def with_changes(config: dict, changes: dict) -> ConfigDict:
    """A config in which dotted keys have other values."""
    changed = Config(config)
    changed.merge_from_dict(changes)
    return ConfigDict(changed.to_dict())


def head_config(**changes) -> ConfigDict:
    """A narrow RetinaPlusHead for 3 classes with mmdet's own parts."""
    config = dict(
        type='RetinaPlusHead',
        num_classes=3,
        in_channels=8,
        feat_channels=8,
        stacked_convs=1,
        loss_cls=dict(type='FocalLoss', use_sigmoid=True),
        loss_bbox=dict(type='L1Loss'),
        train_cfg=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.5,
                neg_iou_thr=0.4,
                min_pos_iou=0,
            ),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
        test_cfg=dict(
            nms_pre=1000,
            min_bbox_size=0,
            score_thr=0.05,
            nms=dict(type='nms', iou_threshold=0.5),
            max_per_img=100,
        ),
    )
    return with_changes(config, changes)


def build_head(**changes) -> BaseDenseHead:
    """The head of `head_config`, with fresh weights."""
    head = MODELS.build(head_config(**changes))
    head.init_weights()
    return head


def detector_config(**slots) -> ConfigDict:
    """A narrow RetinaPlus around `head_config`, levels P3 to P7."""
    head = head_config()
    return ConfigDict(
        type='RetinaPlus',
        backbone=dict(type='ResNet', depth=18, base_channels=8),
        neck=dict(
            type='FPN',
            in_channels=[8, 16, 32, 64],
            out_channels=8,
            start_level=1,
            add_extra_convs='on_input',
            num_outs=5,
        ),
        train_cfg=head.pop('train_cfg'),
        test_cfg=head.pop('test_cfg'),
        bbox_head=head,
        **slots,
    )


def roi_head_config(**changes) -> ConfigDict:
    """The shipped mask branch, narrow, for 3 classes."""
    config = Config(dict(roi_head=RETINAMASK.roi_head)).roi_head
    config.mask_roi_extractor.out_channels = 8
    config.mask_head.update(
        num_convs=1, in_channels=8, conv_out_channels=8, num_classes=3
    )
    return with_changes(config, changes)

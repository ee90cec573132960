"""Small trained detectors, and images to compare on."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn

from tests.helpers.detector_files import CLASSES, write_config
from tests.helpers.image_files import noise
from tests.helpers.models import (
    detector_config,
    roi_head_config,
    with_changes,
)


def small_detector(kind: str):
    """A RetinaPlus of two levels, P3 and P4."""
    slots = {}
    if kind == 'mask':
        slots['roi_head'] = roi_head_config(
            **{'mask_roi_extractor.featmap_strides': [8, 16]}
        )
    config = with_changes(
        detector_config(**slots),
        {
            'backbone': dict(num_stages=3, out_indices=(1, 2)),
            'backbone.strides': (1, 2, 2),
            'backbone.dilations': (1, 1, 1),
            'neck.in_channels': [16, 32],
            'neck.start_level': 0,
            'neck.num_outs': 2,
            'bbox_head.anchor_generator': dict(
                type='AnchorGenerator',
                octave_base_scale=4,
                scales_per_octave=1,
                ratios=[1.0],
                strides=[8, 16],
            ),
            'test_cfg.nms_pre': 100,
            'test_cfg.max_per_img': 20,
        },
    )
    if kind == 'softmax':
        config.bbox_head.loss_cls = dict(
            type='CrossEntropyLoss', use_sigmoid=False
        )
    if kind == 'unet':
        # A decoder for pixels, which boxes do not need.
        config.backbone.update(
            out_indices=(0, 1, 2), strides=(1, 2, 2), dilations=(1, 1, 1)
        )
        config.neck.update(
            type='UNetFPN',
            in_channels=[8, 16, 32],
            start_level=1,
            decoder_channels=[8],
        )
        config.semantic_head = dict(
            type='UNetSemanticHead', num_classes=3, in_channels=8
        )
        config.bbox_start_level = 1
    if kind == 'atss':
        config.type = 'ATSS'
        config.bbox_head.update(type='ATSSHead', norm_cfg=None)
    return config


@pytest.fixture(scope='session')
def small(tmp_path_factory):
    """Function that writes config and checkpoint of a kind of detector."""

    def write(kind: str) -> list[str]:
        folder: Path = tmp_path_factory.mktemp(kind)
        torch.manual_seed(1)
        config = small_detector(kind)
        detector = MODELS.build(config)
        for layer in detector.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
        head = detector.bbox_head
        cls = getattr(head, 'retina_cls', None) or head.atss_cls
        reg = getattr(head, 'retina_reg', None) or head.atss_reg
        # Logits and deltas of a trained detector's size.
        cls.weight.data *= 0.01
        reg.weight.data *= 0.005
        if kind == 'mask':
            detector.roi_head.mask_head.conv_logits.weight.data *= 0.1
        path = write_config(folder / 'config.py', config, scale=(96, 64))
        written = Config.fromfile(path)
        written.model.data_preprocessor.update(
            mean=[123.7, 116.3, 103.5], std=[58.4] * 3, bgr_to_rgb=True
        )
        written.dump(path)
        torch.save(
            dict(
                state_dict=detector.state_dict(),
                meta=dict(dataset_meta=dict(classes=CLASSES)),
            ),
            folder / 'weights.pth',
        )
        return [str(path), str(folder / 'weights.pth')]

    return write


@pytest.fixture(scope='session')
def photos(tmp_path_factory) -> str:
    """A folder of two images of 120 x 90 pixels."""
    folder = tmp_path_factory.mktemp('photos')
    for seed in (0, 1):
        noise(folder / f'{seed}.png', seed)
    return str(folder)

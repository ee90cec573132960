"""Retina U-Net's configs say what the specification does."""

import math
import re
from pathlib import Path

import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmengine.config import Config

from tests.helpers.samples import BATCHES, OBJECTS, data_sample
from tests.helpers.shipped_configs import (
    build_detector,
    check_step,
    differences,
    load,
)

PIXELS = {
    'pixel_supervision',  # the fragment itself
    'model.data_preprocessor.pad_seg',
    'model.data_preprocessor.seg_pad_value',
    'model.backbone.type',
    'model.backbone.c0_channels',
    'model.neck.type',
    'model.neck.decoder_channels',
    'model.bbox_start_level',
    'model.semantic_head',
    'visualizer.type',
}


def without_pipelines(config) -> dict:
    """Inserted steps shift those that follow."""
    settings = config.to_dict()
    settings.pop('train_pipeline')
    settings['train_dataloader']['dataset'].pop('pipeline')
    return settings


@pytest.mark.parametrize(
    ('ours', 'base', 'more'),
    [
        ('retinaunet_r50_fpn_fl', 'retinanet_r50_fpn_fl', set()),
        (
            'retinaunet-mask_r50_fpn',
            'retinamask_r50_fpn',
            {'model.roi_head.start_level', 'model.backbone.c0_norm_cfg'},
        ),
        ('retinaunet_r18_fpn_shapes', 'retinanet_r18_fpn_shapes', set()),
        ('retinaunet_r18_fpn_pennfudan', 'retinanet_r18_fpn_pennfudan', set()),
        ('retinaunet_r18_fpn_donuts', 'retinanet_r18_fpn_donuts', set()),
    ],
)
def test_only_pixels_are_added_to_the_base(ours, base, more):
    ours, base = load(ours), load(base)
    with pytest.MonkeyPatch.context() as patch:
        # Inputs are counted from C0, not from C2: other numbers, same levels.
        for config in (ours, base):
            for key in ('in_channels', 'start_level'):
                patch.delitem(config.model.neck, key)
        found = set(
            differences(without_pipelines(ours), without_pipelines(base))
        )
    assert found == PIXELS | more


@pytest.mark.parametrize(
    'name',
    [
        'retinaunet_r50_fpn',
        'retinaunet_r50_fpn_fl',
        'retinaunet-mask_r50_fpn',
        'retinaunet_r18_fpn_shapes',
        'retinaunet_r18_fpn_pennfudan',
        'retinaunet_r18_fpn_donuts',
    ],
)
def test_masks_are_painted_right_before_packing(name):
    steps = load(name).train_dataloader.dataset.pipeline
    assert [step.type for step in steps][-2:] == [
        'PaintInstances',
        'PackDetInputs',
    ]
    assert any(step.get('with_mask') for step in steps)


@pytest.mark.parametrize(
    ('name', 'edges'),
    [
        ('retinaunet_r50_fpn', [4, 8, 16, 32]),
        ('retinaunet_r50_fpn_anchors-8-64', [8, 16, 32, 64]),
    ],
)
def test_anchors_have_the_papers_edges_and_the_released_ones(name, edges):
    head = load(name).model.bbox_head
    generator = TASK_UTILS.build(head.anchor_generator)
    assert generator.num_base_priors == [9] * 4
    for anchors, edge in zip(generator.base_anchors, edges, strict=True):
        sizes = (anchors[:, 2:] - anchors[:, :2]).prod(dim=1).sqrt()
        octave = [edge * 2 ** (third / 3) for third in range(3)] * 3
        assert sizes.tolist() == pytest.approx(octave)


def test_the_papers_classifier_is_a_softmax_with_as_many_negatives():
    detector = build_detector(load('retinaunet_r50_fpn'))
    head = detector.bbox_head
    assert head.cls_out_channels == 81
    assert not head.retina_cls.bias.any()
    assert [type(policy).__name__ for policy in head.mining] == [
        'StochasticHardMining'
    ]
    losses = detector.loss(torch.randn(1, 3, 64, 64), [data_sample(OBJECTS)])
    # Half of ln 81 for the positives, and half of it for the negatives.
    assert losses['loss_cls'].item() == pytest.approx(math.log(81), abs=0.1)


def test_boxes_start_at_p2_and_pixels_at_p0():
    detector = build_detector(load('retinaunet_r50_fpn'))
    levels = detector.extract_feat(torch.randn(1, 3, 64, 96))
    sizes = [tuple(level.shape[-2:]) for level in levels]
    assert sizes == [(64, 96), (16, 24), (8, 12), (4, 6), (2, 3)]
    assert len(detector(torch.randn(1, 3, 64, 64), mode='tensor')[0]) == 4


PAGE = Path(__file__).parents[1] / 'docs' / 'retinaunet.md'
BLOCKS = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)


def block(number: int, tmp_path: Path) -> Config:
    file = tmp_path / 'users.py'
    file.write_text(BLOCKS[number])
    return Config.fromfile(file)


@pytest.mark.parametrize('number', range(len(BLOCKS)))
def test_configs_of_the_page_take_a_step(number, tmp_path):
    check_step(build_detector(block(number, tmp_path)), BATCHES['objects'])


def test_the_focal_loss_is_one_line_away(tmp_path):
    head = build_detector(block(0, tmp_path)).bbox_head
    assert type(head.loss_cls).__name__ == 'FusedFocalLoss'
    assert head.cls_out_channels == 80
    assert not head.mining
    prior = head.retina_cls.bias.sigmoid()
    assert prior.tolist() == pytest.approx([0.01] * len(prior))


def test_classifiers_follow_each_other_in_any_order(tmp_path):
    """A config of a config of a config, as users inherit."""
    base = "__import__('mmdet_retina_plus').config('retinaunet_r50_fpn')"
    heads = []
    for name in ('sigmoid_focal', 'softmax_mining', 'sigmoid_focal'):
        file = tmp_path / f'users{len(heads)}.py'
        file.write_text(
            f'_base_ = {base}\nmodel = dict(bbox_head=_base_.{name})'
        )
        base = repr(str(file))
        heads.append(build_detector(Config.fromfile(file)).bbox_head)
    channels = [head.cls_out_channels for head in heads]
    assert channels == [80, 81, 80]
    assert [len(head.mining) for head in heads] == [0, 1, 0]
    assert [bool(head.retina_cls.bias.any()) for head in heads] == [
        True,
        False,
        True,
    ]

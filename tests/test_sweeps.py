"""Every point of every sweep is built and stepped."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch.testing import assert_close

import mmdet_retina_plus
from mmdet_retina_plus.sweeps.spec import read_sweep
from mmdet_retina_plus.sweeps.value_checks import apply_point
from tests.helpers.oracles import exact_level
from tests.helpers.samples import BATCHES
from tests.helpers.shipped_configs import (
    build_detector,
    check_step,
    differences,
    load,
    read,
    shrink,
)

FOLDER = Path(mmdet_retina_plus.config('retinamask_r50_fpn')).parent / 'sweeps'


SWEEPS = {path.stem: read_sweep(path) for path in sorted(FOLDER.glob('*.py'))}
POINTS = [
    (name, index)
    for name, sweep in SWEEPS.items()
    for index, point in enumerate(sweep.points)
    # A config by itself is stepped where all configs are.
    if sweep.changes(point)
]


def apply(name: str, index: int, path: str | None = None) -> Config:
    """A sweep's config, or another one, changed by one of its points."""
    sweep = SWEEPS[name]
    base = read(str(FOLDER / path if path else sweep.config))
    _, config = apply_point(sweep, sweep.points[index], deepcopy(base))
    return config


def test_there_are_sweeps():
    assert len(SWEEPS) >= 12


@pytest.mark.parametrize('name', SWEEPS)
def test_a_sweep_says_what_it_is(name):
    text = (FOLDER / f'{name}.py').read_text()
    assert text.startswith('# ')


@pytest.mark.parametrize('name', SWEEPS)
def test_a_sweep_names_configs_that_are_there(name):
    assert all(Path(config).is_file() for config in SWEEPS[name].configs)


STEPPED: set[str] = set()
"""Models that took a step: many points change other things, or have a twin."""


@pytest.mark.parametrize(('name', 'index'), POINTS)
def test_a_point_is_known_and_steps(name, index):
    config = apply(name, index)
    shrink(config)
    model = repr(config.model.to_dict())
    if model not in STEPPED:
        STEPPED.add(model)
        check_step(build_detector(config), BATCHES['one-empty'])


SMALL = [
    point
    for point in POINTS
    if point[0] in ('focal_gamma_alpha', 'ce_alpha', 'prior')
]


@pytest.mark.parametrize(('name', 'index'), SMALL)
def test_a_point_fits_the_small_benchmark_as_well(name, index):
    config = apply(name, index, '../retinanet_r18_fpn-p2-p4_imbalanced.py')
    check_step(build_detector(config), BATCHES['one-empty'])


def test_cells_come_after_the_points():
    counts = [
        (point['scales_per_octave'], len(point['ratios']))
        for point in SWEEPS['anchor_density'].points
    ]
    assert counts == [(4, 3), (1, 1), (1, 3), (2, 1), (2, 3), (3, 1), (3, 3)]


def test_the_prior_is_in_the_bias_of_every_other_point():
    for index, prior in enumerate([0.5, 0.01] * 2):
        config = apply(
            'prior', index, '../retinanet_r18_fpn-p2-p4_imbalanced.py'
        )
        bias = build_detector(config).bbox_head.retina_cls.bias
        assert_close(bias.sigmoid(), torch.full_like(bias, prior))


def test_points_equal_the_shipped_configs_of_the_same_content():
    twins = {
        ('focal_gamma_alpha', 0): 'retinanet_r50_fpn_ce',
        ('focal_gamma_alpha', 5): 'retinanet_r50_fpn_fl',
        ('ce_alpha', 3): 'retinanet_r50_fpn_ce',
        ('anchor_density', 6): 'retinanet_r50_fpn_fl',
        ('ohem', 9): 'retinanet_r101_fpn_fl',
        ('scale_depth', 4): 'retinanet_r50_fpn_fl',
        ('scale_depth', 9): 'retinanet_r101_fpn_fl',
    }
    for point, name in twins.items():
        ours, theirs = apply(*point), load(name)
        assert set(differences(ours.to_dict(), theirs.to_dict())) == set()


@pytest.mark.parametrize(
    ('name', 'start'),
    [('retinamask_sizes', 0), ('scale_depth', 0), ('scale_depth', 5)],
)
def test_sizes_are_those_of_training_and_of_test(name, start):
    short_sides = []
    for index in range(start, start + 5):
        config = apply(name, index)
        scales = [
            step.scale
            for loader in ('train', 'val', 'test')
            for step in config[f'{loader}_dataloader'].dataset.pipeline
            if step.type == 'Resize'
        ]
        assert len(scales) == 3
        assert len(set(scales)) == 1
        long, short = scales[0]
        assert long == round(short * 5 / 3)
        short_sides.append(short)
    assert short_sides == [400, 500, 600, 700, 800]


LEVELS = {
    ('retinamask_mask-levels_1x', 0): (4, 3, 5),
    ('retinamask_mask-levels_1x', 1): (5, 3, 6),
    ('retinamask_mask-levels_1x', 2): (4, 2, 5),
    ('retinamask_mask-levels_1.5x', 0): (4, 3, 5),
    ('retinamask_mask-levels_1.5x', 1): (5, 3, 5),
}
"""k0, finest and coarsest level of each point."""


@pytest.mark.parametrize('point', LEVELS)
def test_mask_levels_follow_the_reference_rule(point):
    k0, finest, coarsest = LEVELS[point]
    roi_head = apply(*point).model.roi_head
    extractor = MODELS.build(roi_head.mask_roi_extractor)
    assert extractor.featmap_strides == [
        2**level for level in range(finest, coarsest + 1)
    ]
    sizes = torch.tensor([1, 55, 111, 112, 223, 224, 447, 448, 895, 896, 2000])
    rois = torch.zeros(len(sizes), 5)
    rois[:, 3] = rois[:, 4] = sizes
    levels = extractor.map_roi_levels(rois, extractor.num_inputs) + finest
    rule = np.floor(exact_level(sizes.numpy(), k0))
    assert levels.tolist() == rule.clip(finest, coarsest).tolist()

"""Every point of every sweep is built and stepped."""

import copy
import inspect
import runpy
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import (
    BATCHES,
    build_detector,
    check_step,
    differences,
    load,
    shrink,
)
from mask_scenes import exact_level
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config
from torch.testing import assert_close

import mmdet_retina_plus

FOLDER = Path(mmdet_retina_plus.config('retinamask_r50_fpn')).parent / 'sweeps'


def read_sweep(path: Path) -> dict[str, Any]:
    """A sweep with the cells of its product among its points."""
    sweep = runpy.run_path(str(path))
    grid = sweep.get('product', {})
    cells = [
        dict(zip(grid, cell, strict=True)) for cell in product(*grid.values())
    ]
    points = sweep.get('points', []) + (cells if grid else [])
    return dict(sweep, points=points)


SWEEPS = {path.stem: read_sweep(path) for path in sorted(FOLDER.glob('*.py'))}
POINTS = [
    (name, index)
    for name, sweep in SWEEPS.items()
    for index in range(len(sweep['points']))
]


def apply_point(name: str, index: int, path: str | None = None) -> Config:
    """A sweep's config, or another one, changed by one of its points."""
    sweep = SWEEPS[name]
    base = Config.fromfile(FOLDER / (path or sweep['config']))
    config = copy.deepcopy(base)
    changes = {
        sweep['prefix'] + key: value
        for key, value in sweep['points'][index].items()
    }
    config.merge_from_dict(copy.deepcopy(changes))
    for key in changes:
        check_key(base, config, key)
    return config


def check_key(before: Any, after: Any, key: str) -> None:
    """Refuse a key that neither the config had nor a class takes."""
    for part in key.split('.'):
        if isinstance(after, list):
            before, after = before[int(part)], after[int(part)]
            continue
        if part != 'type' and part not in before:
            assert part in parameters(after['type']), key
        before, after = before.get(part, {}), after[part]


def parameters(kind: str) -> set[str]:
    """What a module and its parents can be built with."""
    module = MODELS.get(kind) or TASK_UTILS.get(kind)
    return {
        name
        for parent in module.__mro__
        for name in inspect.signature(parent.__init__).parameters
    }


def test_there_are_sweeps():
    assert len(SWEEPS) >= 12


@pytest.mark.parametrize('name', SWEEPS)
def test_a_sweep_says_what_it_is(name):
    text = (FOLDER / f'{name}.py').read_text()
    assert text.startswith('# ')


@pytest.mark.parametrize('name', SWEEPS)
def test_no_point_is_there_twice(name):
    points = SWEEPS[name]['points']
    assert all(points.count(point) == 1 for point in points)


@pytest.mark.parametrize('key', ['neck.typo', 'typo.num_outs', 'typo'])
def test_a_key_that_nothing_knows_is_refused(key):
    base = load('retinamask_r50_fpn_1x')
    config = copy.deepcopy(base)
    config.merge_from_dict({f'model.{key}': 3})
    with pytest.raises((AssertionError, KeyError)):
        check_key(base, config, f'model.{key}')


@pytest.mark.parametrize(('name', 'index'), POINTS)
def test_a_point_is_known_and_steps(name, index):
    config = apply_point(name, index)
    shrink(config)
    check_step(build_detector(config), BATCHES['one-empty'])


SMALL = [
    point
    for point in POINTS
    if point[0] in ('focal_gamma_alpha', 'ce_alpha', 'prior')
]


@pytest.mark.parametrize(('name', 'index'), SMALL)
def test_a_point_fits_the_small_benchmark_as_well(name, index):
    config = apply_point(
        name, index, '../retinanet_r18_fpn_shapes-imbalanced.py'
    )
    check_step(build_detector(config), BATCHES['one-empty'])


def test_cells_come_after_the_points():
    counts = [
        (point['scales_per_octave'], len(point['ratios']))
        for point in SWEEPS['anchor_density']['points']
    ]
    assert counts == [(4, 3), (1, 1), (1, 3), (2, 1), (2, 3), (3, 1), (3, 3)]


def test_the_prior_is_in_the_bias_of_every_other_point():
    for index, prior in enumerate([0.5, 0.01] * 2):
        config = apply_point(
            'prior', index, '../retinanet_r18_fpn_shapes-imbalanced.py'
        )
        bias = build_detector(config).bbox_head.retina_cls.bias
        assert_close(bias.sigmoid(), torch.full_like(bias, prior))


def test_points_equal_the_shipped_configs_of_the_same_content():
    twins = {
        ('focal_gamma_alpha', 0): 'retinanet_r50_fpn_ce',
        ('focal_gamma_alpha', 5): 'retinanet_r50_fpn_fl',
        ('ce_alpha', 3): 'retinanet_r50_fpn_ce',
        ('prior', 0): 'retinanet_r50_fpn_ce-no-prior',
        ('anchor_density', 6): 'retinanet_r50_fpn_fl',
        ('ohem', 9): 'retinanet_r101_fpn_fl',
        ('scale_depth', 4): 'retinanet_r50_fpn_fl',
        ('scale_depth', 9): 'retinanet_r101_fpn_fl',
    }
    for point, name in twins.items():
        ours, theirs = apply_point(*point), load(name)
        assert set(differences(ours.to_dict(), theirs.to_dict())) == set()


@pytest.mark.parametrize(
    ('name', 'start'),
    [('retinamask_sizes', 0), ('scale_depth', 0), ('scale_depth', 5)],
)
def test_sizes_are_those_of_training_and_of_test(name, start):
    short_sides = []
    for index in range(start, start + 5):
        config = apply_point(name, index)
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
    roi_head = apply_point(*point).model.roi_head
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

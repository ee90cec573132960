"""Every point of every sweep is built and stepped."""

import inspect
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import BATCHES, build_detector, check_step, load, shrink
from mask_scenes import exact_level
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config

import mmdet_retina_plus

FOLDER = Path(mmdet_retina_plus.config('retinamask_r50_fpn')).parent / 'sweeps'
SWEEPS = {
    path.stem: runpy.run_path(str(path))
    for path in sorted(FOLDER.glob('*.py'))
}
POINTS = [
    (name, index)
    for name, sweep in SWEEPS.items()
    for index in range(len(sweep['points']))
]


def apply_point(name: str, index: int) -> Config:
    """The config of a sweep with the changes of one of its points."""
    sweep = SWEEPS[name]
    config = Config.fromfile(FOLDER / sweep['config'])
    changes = {
        sweep['prefix'] + key: value
        for key, value in sweep['points'][index].items()
    }
    for key in changes:
        check_key(config, key)
    config.merge_from_dict(changes)
    return config


def check_key(config: Config, key: str) -> None:
    """Refuse a key that neither the config has nor a class takes."""
    *path, name = key.split('.')
    parent: Any = config
    for part in path:
        parent = parent[int(part) if isinstance(parent, list) else part]
    if name not in parent:
        kind = parent['type']
        module = MODELS.get(kind) or TASK_UTILS.get(kind)
        assert name in inspect.signature(module).parameters, key


def test_there_are_sweeps():
    assert len(SWEEPS) >= 5


@pytest.mark.parametrize('name', SWEEPS)
def test_a_sweep_says_what_it_is(name):
    text = (FOLDER / f'{name}.py').read_text()
    assert text.startswith('# ')


@pytest.mark.parametrize('key', ['neck.typo', 'typo.num_outs', 'typo'])
def test_a_key_that_nothing_knows_is_refused(key):
    with pytest.raises((AssertionError, KeyError)):
        check_key(load('retinamask_r50_fpn_1x'), f'model.{key}')


@pytest.mark.parametrize(('name', 'index'), POINTS)
def test_a_point_is_known_and_steps(name, index):
    config = apply_point(name, index)
    shrink(config)
    check_step(build_detector(config), BATCHES['one-empty'])


def test_sizes_are_those_of_training_and_of_test():
    short_sides = []
    for index in range(5):
        config = apply_point('retinamask_sizes', index)
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

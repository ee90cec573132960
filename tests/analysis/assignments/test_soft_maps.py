"""Soft quantities: whose they are, and when they are shown."""

import numpy as np
import pytest
import torch
from mmdet.models.utils.gaussian_target import gaussian_radius

from mmdet_retina_plus.analysis.assignments.soft_maps import (
    soft_maps,
    watched_fusion,
)
from mmdet_retina_plus.necks import ASFF
from tests.helpers.assigned_heads import ALL, assigned_head, scene


def maps_of(kind, trained, objects=(((20, 24, 60, 60), 2),)) -> list:
    head = assigned_head(kind)
    features, (sample,) = scene(kind, objects)
    with torch.no_grad():
        return soft_maps(head, features, sample, trained)


@pytest.mark.parametrize('kind', ALL)
def test_predictions_show_only_where_they_mean_something(kind):
    untrained, trained = (maps_of(kind, x) for x in (False, True))
    expected = {
        'ATSSHead': (0, 5),
        'FCOSHead': (0, 5),
        'GARetinaHead': (5, 10),
        'CenterNetHead': (1, 2),
    }
    assert (len(untrained), len(trained)) == expected.get(kind, (0, 0))
    for soft in trained:
        assert 0 <= soft.values.min() <= soft.values.max() <= 1


def test_the_gaussian_of_centernet_has_mmdets_radius():
    (soft,) = maps_of('CenterNetHead', trained=False)
    # The object has its centre in cell (10, 10), of stride 4.
    assert np.argwhere(soft.values == 1).tolist() == [[10, 10]]
    radius = int(gaussian_radius([torch.tensor(9.0), torch.tensor(10.0)], 0.3))
    reached = np.flatnonzero(soft.values[10])
    assert reached.tolist() == list(range(10 - radius, 11 + radius))


def test_locations_of_guided_anchors_have_an_ignored_ring():
    levels = maps_of('GARetinaHead', trained=False)
    # 36 x 40 pixels: level 1, whose centre of .2 and ring of .5 are cells.
    values = levels[0].values
    assert {0.0, 0.5, 1.0} == set(values.flatten().tolist())
    rows, columns = np.nonzero(values == 1)
    assert (rows >= 4).all() and (rows <= 6).all()
    assert (columns >= 4).all() and (columns <= 6).all()
    assert 1 not in levels[2].values


def test_weights_of_fused_levels_add_up_to_one():
    fusion = ASFF([8, 8, 8], own_level_start=0.6)
    fusion.init_weights()
    features = tuple(torch.randn(1, 8, side, side) for side in (16, 8, 4))
    with watched_fusion(torch.nn.Sequential(fusion)) as maps:
        fusion(features)
    titles = [soft.title for soft in maps]
    assert titles[1] == 'output 1: weight of input 2'
    assert [soft.values.shape[0] for soft in maps] == [16] * 3 + [8] * 3 + [
        4
    ] * 3
    for output in range(3):
        own = maps[4 * output].values
        np.testing.assert_allclose(own, 0.6, rtol=1e-5)
        total = sum(soft.values for soft in maps[3 * output :][:3])
        np.testing.assert_allclose(total, 1, rtol=1e-5)
    assert not fusion._forward_pre_hooks


def test_of_more_than_three_levels_the_own_weights_are_shown():
    fusion = ASFF([8] * 5)
    fusion.init_weights()
    sides = (16, 8, 4, 2, 1)
    features = tuple(torch.randn(1, 8, side, side) for side in sides)
    with watched_fusion(torch.nn.Sequential(fusion)) as maps:
        fusion(features)
    assert [soft.title for soft in maps] == [
        f'output {level}: weight of input {level}' for level in range(1, 6)
    ]

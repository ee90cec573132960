"""Soft quantities: whose they are, and when they are shown."""

from itertools import chain

import numpy as np
import pytest
import torch
from mmdet.models.utils.gaussian_target import gaussian_radius

from mmdet_retina_plus.analysis.assignments.heads import reader_of
from mmdet_retina_plus.analysis.assignments.read_sapd import read_sapd
from mmdet_retina_plus.analysis.assignments.soft_maps import (
    soft_maps,
    watched_fusion,
)
from mmdet_retina_plus.analysis.assignments.strategies import progress_of
from mmdet_retina_plus.necks import ASFF
from tests.helpers.assigned_heads import ALL, assigned_head, scene


def maps_of(kind, trained, objects=(((20, 24, 60, 60), 2),)) -> list:
    head = assigned_head(kind)
    features, samples = scene(kind, objects)
    reader = reader_of(head)
    assert reader is not None
    with torch.no_grad(), progress_of(trained):
        assignment = reader(head, features, samples)
        return soft_maps(head, features, samples[0], assignment, trained)


@pytest.mark.parametrize('kind', ALL)
def test_predictions_show_only_where_they_mean_something(kind):
    untrained, trained = (maps_of(kind, x) for x in (False, True))
    expected: dict[str, tuple] = {
        'ATSSHead': ([], [5]),
        'FCOSHead': ([], [5]),
        'SAPDHead': ([], [5]),
        'GARetinaHead': ([5], [5, 5]),
        'CenterNetHead': ([1], [2]),
    }
    found = tuple(list(map(len, maps)) for maps in (untrained, trained))
    assert found == expected.get(kind, ([], []))
    for soft in chain(*trained):
        assert 0 <= soft.values.min() <= soft.values.max() <= 1


def test_the_gaussian_of_centernet_has_mmdets_radius():
    ((soft,),) = maps_of('CenterNetHead', trained=False)
    # The object has its centre in cell (10, 10), of stride 4.
    assert np.argwhere(soft.values == 1).tolist() == [[10, 10]]
    radius = int(gaussian_radius([torch.tensor(9.0), torch.tensor(10.0)], 0.3))
    reached = np.flatnonzero(soft.values[10])
    assert reached.tolist() == list(range(10 - radius, 11 + radius))


def test_locations_of_guided_anchors_have_an_ignored_ring():
    (levels,) = maps_of('GARetinaHead', trained=False)
    # 36 x 40 pixels: level 1, whose centre of .2 and ring of .5 are cells.
    values = levels[0].values
    assert {0.0, 0.5, 1.0} == set(values.flatten().tolist())
    rows, columns = np.nonzero(values == 1)
    assert (rows >= 4).all() and (rows <= 6).all()
    assert (columns >= 4).all() and (columns <= 6).all()
    assert 1 not in levels[2].values


def test_weights_of_sapd_lie_at_its_positives_on_every_level():
    head = assigned_head('SAPDHead')
    features, samples = scene('SAPDHead')
    with torch.no_grad(), progress_of(True):
        found = read_sapd(head, features, samples)
        (row,) = soft_maps(head, features, samples[0], found, True)
    assert [soft.values.shape for soft in row] == [
        tuple(level.shape[-2:]) for level in features
    ]
    shown = np.concatenate([soft.values.flatten() for soft in row])
    assert np.flatnonzero(shown).tolist() == sorted(found.priors)
    np.testing.assert_array_equal(shown[found.priors], found.weights)
    assert len(set(found.levels[found.priors])) > 1


@pytest.mark.parametrize('count', [3, 5])
def test_weights_of_fused_levels_add_up_to_one(count):
    fusion = ASFF([8] * count, own_level_start=0.6)
    fusion.init_weights()
    sides = [16, 8, 4, 2, 1][:count]
    features = tuple(torch.randn(1, 8, side, side) for side in sides)
    with watched_fusion(torch.nn.Sequential(fusion)) as maps:
        fusion(features)
    assert maps[0][1].title == 'output 1: weight of input 2'
    assert [len(row) for row in maps] == [count] * count
    for output, row in enumerate(maps):
        assert {soft.values.shape for soft in row} == {(sides[output],) * 2}
        np.testing.assert_allclose(row[output].values, 0.6, rtol=1e-5)
        total = sum(soft.values for soft in row)
        np.testing.assert_allclose(total, 1, rtol=1e-5)
    assert not fusion._forward_pre_hooks

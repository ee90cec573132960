"""Laws of charts as pictures."""

import dataclasses
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings

from mmdet_retina_plus.sweeps.charts import Chart
from mmdet_retina_plus.sweeps.pictures import chart_png
from tests.sweeps.sweep_results import (
    ODD_POINTS,
    PAIRS,
    charts_of,
    one_trial_each,
    unfinished_sweep,
)

SWEEPS = {
    'unfinished': unfinished_sweep(),
    'many': one_trial_each(
        [dict(type='T' * 60, layers=[n] * 9) for n in range(40)]
    ),
}


@pytest.mark.parametrize(
    ('sweep', 'name'),
    [
        ('unfinished', 'metric'),
        ('unfinished', 'heat_map'),
        ('many', 'points'),
        ('many', 'curves'),
    ],
)
def test_pictures_show_something_within_their_edges(sweep, name):
    ink = ink_of(charts_of(SWEEPS[sweep])[name])
    assert 0.005 < ink.mean() < 0.7
    assert not ink[[0, -1]].any()
    assert not ink[:, [0, -1]].any()


def ink_of(chart: Chart) -> np.ndarray:
    """Which pixels of a chart's picture are drawn on, shape (H, W)."""
    data = np.frombuffer(chart_png(chart), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) < 200


# matplotlib's font has no glyph for some of the characters.
@pytest.mark.filterwarnings('ignore:Glyph')
@settings(deadline=None, max_examples=4)
@given(ODD_POINTS)
def test_any_point_can_be_drawn(points):
    for chart in charts_of(one_trial_each(points)).values():
        assert 0.005 < ink_of(chart).mean() < 0.7


@pytest.mark.parametrize(
    'values',
    [
        [-1e14, 1e-300, 1e14],
        [1e-300, 1e-12, 1e14, 1e299, 10**400],
        [1.0, math.nextafter(1.0, 2)],
    ],
)
def test_numbers_of_any_size_can_be_drawn(values):
    points = [dict(x=value) for value in values]
    ink = ink_of(charts_of(one_trial_each(points))['metric'])
    assert 0.005 < ink.mean() < 0.7


def test_values_that_are_all_the_same_can_be_drawn():
    sweep = one_trial_each([dict(gamma=g, alpha=a) for g, a in PAIRS])
    same = [dataclasses.replace(trial, value=0.0) for trial in sweep.trials]
    charts = charts_of(dataclasses.replace(sweep, trials=same))
    for name in ('metric', 'heat_map'):
        assert 0.005 < ink_of(charts[name]).mean() < 0.7

"""Laws of charts."""

import dataclasses
import math
import re
import statistics
from typing import Any

import cv2
import numpy as np
import pytest
import vl_convert
from hypothesis import given, settings

from mmdet_retina_plus.sweeps.charts import CHARTS, GREY
from mmdet_retina_plus.sweeps.units import time_unit
from tests.sweeps.sweep_results import (
    ODD_POINTS,
    PAIRS,
    channel,
    charts_of,
    data_of,
    make_sweep,
    make_trial,
    one_trial_each,
    unfinished_sweep,
)


def lines_of(chart: dict[str, Any]) -> dict[str, list[float]]:
    """Positions on each line, in the order of the legend."""
    data = data_of(chart)
    return {
        label: data.x[data.line == label].tolist()
        for label in channel(chart, 'color')['scale']['domain']
    }


def colors_of(chart: dict[str, Any]) -> dict[str, str]:
    """Colour of each line in the legend."""
    scale = channel(chart, 'color')['scale']
    return dict(zip(scale['domain'], scale['range'], strict=True))


def test_the_metric_is_drawn_over_gamma_with_a_line_per_alpha():
    points = [dict(gamma=gamma, alpha=alpha) for gamma, alpha in PAIRS[::-1]]
    chart = charts_of(one_trial_each(points))['metric']
    assert channel(chart, 'x')['title'] == 'gamma'
    assert channel(chart, 'y')['title'] == 'bbox_mAP (%)'
    assert {k: sorted(x) for k, x in lines_of(chart).items()} == {
        'alpha=0.25': [1, 2],
        'alpha=0.5': [0.5],
        'alpha=0.75': [0, 0.1],
    }
    assert len(set(colors_of(chart).values())) == 3


def test_lines_of_names_are_in_the_order_of_the_spec():
    names = ['resnet18', 'resnet34', 'resnet101', 'none']
    points = [dict(net=net, gamma=g) for net in names for g in (0, 1)]
    chart = charts_of(one_trial_each(points))['metric']
    assert list(lines_of(chart)) == [f'net={net}' for net in names]


def test_lines_of_long_values_have_labels_of_their_own():
    path = '/a/very/long/path/to/some/resnet{}-torchvision-imagenet.pth'
    nets = [path.format(depth) for depth in (18, 34, 50)]
    points = [dict(checkpoint=net, gamma=g) for net in nets for g in (0, 1)]
    chart = charts_of(one_trial_each(points))['metric']
    assert list(lines_of(chart)) == [
        f'checkpoint=…resnet{depth}…' for depth in (18, 34, 50)
    ]


def test_a_mark_is_mean_and_spread_of_its_seeds():
    points = [dict(gamma=gamma) for gamma in (0, 1)]
    values = [0.30, 0.33, 0.34]
    trials = [
        make_trial(seed, points[1], seed=seed, value=value)
        for seed, value in enumerate(values)
    ]
    chart = charts_of(make_sweep(points, trials))['metric']
    data = data_of(chart)
    assert data.value.tolist() == pytest.approx([30, 33, 34])
    assert data.seed.tolist() == data.number.tolist() == [0, 1, 2]
    assert {*data.label} == {'gamma=1'}
    assert {*data['mean']} == {'32.3 ± 2.1'}
    assert {*data.seeds} == {3}
    # Vega-Lite computes what it draws, so that is read from the drawing.
    drawn = vl_convert.vegalite_to_svg(chart)
    low, high = map(
        float,
        re.search(
            r'bbox_mAP \(%\): ([\d.]+); upper_value: ([\d.]+)', drawn
        ).groups(),
    )
    assert (low + high) / 2 == pytest.approx(100 * statistics.mean(values))
    assert (high - low) / 2 == pytest.approx(100 * statistics.stdev(values))


def test_points_that_lines_cannot_hold_are_drawn_as_dots():
    points = [dict(type='A'), dict(type='B', beta=1), dict(type='B', beta=2)]
    charts = charts_of(one_trial_each(points))
    assert [*charts] == ['metric', 'points', 'curves', 'time']
    # The last trial is the best.
    assert channel(charts['points'], 'y')['sort'] == [
        'type=B, beta=2',
        'type=B, beta=1',
        'type=A',
    ]
    assert list(lines_of(charts['metric'])) == ['type=B']


def test_one_point_is_a_dot():
    assert [*charts_of(one_trial_each([dict(gamma=2)]))] == [
        'points',
        'curves',
        'time',
    ]


def test_a_line_without_other_keys_has_no_legend():
    points = [dict(iou=0.1), dict(iou=0.2), dict(best_match=False)]
    chart = charts_of(one_trial_each(points))['metric']
    assert len(lines_of(chart)) == 1
    assert channel(chart, 'color')['legend'] is None


def test_a_key_over_decades_has_a_logarithmic_axis():
    points = [dict(lr=10.0**-power) for power in range(5)]
    chart = charts_of(one_trial_each(points))['metric']
    assert channel(chart, 'x')['scale']['type'] == 'log'


def cells_of(chart: dict[str, Any]) -> dict[tuple[float, float], float]:
    return data_of(chart).set_index(['x', 'y']).value.to_dict()


def test_cells_without_a_result_are_empty():
    points = [dict(gamma=g, alpha=a) for g in (0, 1, 2) for a in (0.25, 0.5)]
    chart = charts_of(one_trial_each(points[:-1]))['heat_map']
    assert cells_of(chart) == pytest.approx(
        {
            (0, 0.25): 30,
            (1, 0.25): 30.2,
            (2, 0.25): 30.4,
            (0, 0.5): 30.1,
            (1, 0.5): 30.3,
        }
    )


def test_points_that_share_a_cell_share_its_mean():
    points = [
        dict(gamma=gamma, alpha=alpha, type=kind)
        for kind in ('A', 'B')
        for gamma in (0, 1, 2)
        for alpha in (0.25, 0.5)
    ]
    chart = charts_of(one_trial_each(points))['heat_map']
    assert cells_of(chart)[0, 0.25] == pytest.approx((30 + 30.6) / 2)
    assert 'share a cell' in chart['title']['subtitle']


def test_one_numeric_key_has_no_heat_map():
    points = [dict(gamma=g, type=kind) for g in (0, 1) for kind in 'AB']
    assert 'heat_map' not in charts_of(one_trial_each(points))


def test_learning_curves_are_coloured_by_point_and_dotted_while_they_grow():
    chart = charts_of(unfinished_sweep())['curves']
    curves = data_of(chart).groupby('number')
    assert len(curves) == 10  # one trial is waiting
    colors = colors_of(chart)
    assert len(set(colors.values())) == 5
    assert {*data_of(chart).line} == {*colors}
    assert (~curves.finished.first()).sum() == 4
    first = curves.get_group(0)
    assert first.step.tolist() == [100, 200]
    assert first.value.tolist() == pytest.approx([10, 30])


def test_curves_of_epochs_say_epoch_at_whole_numbers():
    points = [dict(gamma=0), dict(gamma=1)]
    sweep = one_trial_each(points, by_epoch=True)
    trials = [
        dataclasses.replace(trial, curve={1: 0.1, 2: 0.2, 3: 0.3})
        for trial in sweep.trials
    ]
    curves = charts_of(dataclasses.replace(sweep, trials=trials))['curves']
    assert channel(curves, 'x')['title'] == 'epoch'
    assert channel(curves, 'x')['axis']['tickMinStep'] == 1


def test_every_chart_has_one_of_the_names_that_a_report_replaces():
    wide = [dict(a=a, b=b) for a in range(14) for b in 'xyzuvwabcdefghij']
    sweeps = [unfinished_sweep(), one_trial_each(wide)]
    assert {name for sweep in sweeps for name in charts_of(sweep)} == {*CHARTS}


def test_of_many_points_the_best_have_colours():
    points = [dict(kind=str(number)) for number in range(40)]
    chart = charts_of(one_trial_each(points))['curves']
    colors = colors_of(chart)
    assert colors.pop('34 other points') == GREY
    assert sorted(colors) == [f'kind={number}' for number in range(34, 40)]
    # What is drawn first lies below.
    assert data_of(chart).line[0] == '34 other points'


def test_no_number_of_validations_is_too_large():
    trial = make_trial(0, {}, curve=dict.fromkeys(range(6000), 0.1))
    assert len(data_of(charts_of(make_sweep([{}], [trial]))['curves'])) == 6000


def test_times_are_of_complete_trials():
    chart = charts_of(unfinished_sweep())['time']
    assert channel(chart, 'x')['title'] == 'minutes'
    data = data_of(chart)
    assert len(data) == 6
    assert data.value[data.row == 0].tolist() == pytest.approx(
        [600 / 60, 605 / 60]
    )
    assert time_unit(20000).label == 'hours'
    assert time_unit(100).label == 'seconds'


@pytest.mark.parametrize('value', [None, math.nan, math.inf, -1.0])
def test_no_value_is_no_chart(value):
    trial = make_trial(0, {}, value=value, curve={}, seconds=None)
    assert charts_of(make_sweep([{}], [trial])) == {}
    assert charts_of(make_sweep([{}], [])) == {}
    assert charts_of(make_sweep([], [])) == {}


def ink_of(chart: dict[str, Any]) -> np.ndarray:
    """Which pixels of a chart's picture are drawn on, shape (H, W)."""
    data = np.frombuffer(vl_convert.vegalite_to_png(chart), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) < 200


@pytest.mark.parametrize(
    ('sweep', 'name'),
    [
        (unfinished_sweep(), 'metric'),
        (unfinished_sweep(), 'heat_map'),
        (one_trial_each([dict(n=[i] * 9) for i in range(40)]), 'points'),
        (one_trial_each([dict(n=[i] * 9) for i in range(40)]), 'curves'),
    ],
)
def test_pictures_show_something_within_their_edges(sweep, name):
    ink = ink_of(charts_of(sweep)[name])
    assert 0.005 < ink.mean() < 0.7
    assert not ink[[0, -1]].any()
    assert not ink[:, [0, -1]].any()


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

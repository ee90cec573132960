"""Laws of charts as data."""

import dataclasses
import math
import statistics

import numpy as np
import pytest

from mmdet_retina_plus.sweeps.charts import (
    CHARTS,
    GREY,
    Curves,
    Dots,
    HeatMap,
    Lines,
)
from mmdet_retina_plus.sweeps.plotly_figures import make_figure
from mmdet_retina_plus.sweeps.units import time_unit
from tests.sweeps.sweep_results import (
    PAIRS,
    charts_of,
    make_sweep,
    make_trial,
    one_trial_each,
    unfinished_sweep,
)


def test_the_metric_is_drawn_over_gamma_with_a_line_an_alpha():
    points = [dict(gamma=gamma, alpha=alpha) for gamma, alpha in PAIRS[::-1]]
    chart = charts_of(one_trial_each(points))['metric']
    assert isinstance(chart, Lines)
    assert (chart.x_label, chart.y_label) == ('gamma', 'bbox_mAP (%)')
    assert {
        line.label: [spot.position for spot in line.spots]
        for line in chart.lines
    } == {'alpha=0.25': [1, 2], 'alpha=0.5': [0.5], 'alpha=0.75': [0, 0.1]}
    assert len({line.color for line in chart.lines}) == 3


def test_lines_of_names_are_in_the_order_of_the_spec():
    names = ['resnet18', 'resnet34', 'resnet101', 'none']
    points = [dict(net=net, gamma=g) for net in names for g in (0, 1)]
    lines = charts_of(one_trial_each(points))['metric'].lines
    assert [line.label for line in lines] == [f'net={net}' for net in names]


def test_lines_of_long_values_have_labels_of_their_own():
    path = '/a/very/long/path/to/some/resnet{}-torchvision-imagenet.pth'
    nets = [path.format(depth) for depth in (18, 34, 50)]
    points = [dict(checkpoint=net, gamma=g) for net in nets for g in (0, 1)]
    chart = charts_of(one_trial_each(points))['metric']
    assert [line.label for line in chart.lines] == [
        f'checkpoint=…resnet{depth}…' for depth in (18, 34, 50)
    ]


def test_a_spot_is_mean_and_spread_of_its_seeds():
    points = [dict(gamma=gamma) for gamma in (0, 1)]
    values = [0.30, 0.33, 0.34]
    trials = [
        make_trial(seed, points[1], seed=seed, value=value)
        for seed, value in enumerate(values)
    ]
    chart = charts_of(make_sweep(points, trials))['metric']
    (spot,) = chart.lines[0].spots
    assert spot.mean == pytest.approx(100 * statistics.mean(values))
    assert spot.spread == pytest.approx(100 * statistics.stdev(values))
    assert spot.values == pytest.approx([30, 33, 34])
    assert spot.hover == ['gamma=1', 'bbox_mAP (%): 32.3 ± 2.1', '3 seeds']
    assert spot.value_hovers[2][2] == 'seed 2, trial 2'


def test_points_that_lines_cannot_hold_are_drawn_as_dots():
    points = [dict(type='A'), dict(type='B', beta=1), dict(type='B', beta=2)]
    sweep = one_trial_each(points)
    charts = charts_of(sweep)
    assert [*charts] == ['metric', 'points', 'curves', 'time']
    assert isinstance(charts['points'], Dots)
    # The last trial is the best.
    assert charts['points'].labels == [
        'type=B, beta=2',
        'type=B, beta=1',
        'type=A',
    ]
    (line,) = charts['metric'].lines
    assert line.label == 'type=B'


def test_one_point_is_a_dot():
    assert [*charts_of(one_trial_each([dict(gamma=2)]))] == [
        'points',
        'curves',
        'time',
    ]


def test_a_line_without_other_keys_has_no_label():
    points = [dict(iou=0.1), dict(iou=0.2), dict(best_match=False)]
    (line,) = charts_of(one_trial_each(points))['metric'].lines
    assert line.label == ''


def test_a_key_over_decades_has_a_logarithmic_axis():
    points = [dict(lr=10.0**-power) for power in range(5)]
    chart = charts_of(one_trial_each(points))['metric']
    assert chart.log_x
    (line,) = chart.lines
    ratios = [spot.beside / spot.position for spot in line.spots]
    assert ratios == pytest.approx([ratios[0]] * 5)


def test_cells_without_a_result_are_empty():
    points = [dict(gamma=g, alpha=a) for g in (0, 1, 2) for a in (0.25, 0.5)]
    chart = charts_of(one_trial_each(points[:-1]))['heat_map']
    assert isinstance(chart, HeatMap)
    assert (chart.x_ticks, chart.y_ticks) == (['0', '1', '2'], ['0.25', '0.5'])
    np.testing.assert_allclose(
        np.array(chart.cells, float), [[30, 30.2, 30.4], [30.1, 30.3, np.nan]]
    )
    assert chart.texts[1][2] == ''


def test_points_that_share_a_cell_share_its_mean():
    points = [
        dict(gamma=gamma, alpha=alpha, type=kind)
        for kind in ('A', 'B')
        for gamma in (0, 1, 2)
        for alpha in (0.25, 0.5)
    ]
    chart = charts_of(one_trial_each(points))['heat_map']
    assert chart.cells[0][0] == pytest.approx((30 + 30.6) / 2)
    assert 'share a cell' in chart.note


def test_one_numeric_key_has_no_heat_map():
    points = [dict(gamma=g, type=kind) for g in (0, 1) for kind in 'AB']
    assert 'heat_map' not in charts_of(one_trial_each(points))


def test_learning_curves_are_coloured_by_point_and_dotted_while_they_grow():
    chart = charts_of(unfinished_sweep())['curves']
    assert isinstance(chart, Curves)
    assert len(chart.curves) == 10  # one trial is waiting
    colors = {(curve.label, curve.color) for curve in chart.curves}
    assert len(colors) == len({color for _, color in colors}) == 5
    assert sum(curve.dotted for curve in chart.curves) == 4
    assert chart.curves[0].steps == [100, 200]
    assert chart.curves[0].values == pytest.approx([10, 30])


def test_curves_of_epochs_say_epoch_at_whole_numbers():
    points = [dict(gamma=0), dict(gamma=1)]
    sweep = one_trial_each(points, by_epoch=True)
    trials = [
        dataclasses.replace(trial, curve={1: 0.1, 2: 0.2, 3: 0.3})
        for trial in sweep.trials
    ]
    sweep = dataclasses.replace(sweep, trials=trials)
    curves = charts_of(sweep)['curves']
    assert curves.x_label == 'epoch'
    assert 'epoch 2' in curves.curves[0].hovers[1]
    assert make_figure(curves).layout.xaxis.dtick == 1


def test_every_chart_has_one_of_the_names_that_a_report_replaces():
    wide = [dict(a=a, b=b) for a in range(14) for b in 'xyzuvwabcdefghij']
    sweeps = [unfinished_sweep(), one_trial_each(wide)]
    assert {name for sweep in sweeps for name in charts_of(sweep)} == {*CHARTS}


def test_of_many_points_the_best_have_colours():
    points = [dict(kind=str(number)) for number in range(40)]
    chart = charts_of(one_trial_each(points))['curves']
    colored = [c.label for c in chart.curves if c.color != GREY]
    assert sorted(colored) == [f'kind={number}' for number in range(34, 40)]
    assert chart.curves[0].label == '34 other points'


def test_times_are_of_complete_trials():
    chart = charts_of(unfinished_sweep())['time']
    assert chart.x_label == 'minutes'
    assert sum(len(spot.values) for spot in chart.spots) == 6
    assert chart.spots[0].mean == pytest.approx((600 + 605) / 2 / 60)
    assert time_unit([9000, 20000]).label == 'hours'
    assert time_unit([]).label == 'seconds'


@pytest.mark.parametrize('value', [None, math.nan, math.inf, -1.0])
def test_no_value_is_no_chart(value):
    trial = make_trial(0, {}, value=value, curve={}, seconds=None)
    assert charts_of(make_sweep([{}], [trial])) == {}
    assert charts_of(make_sweep([{}], [])) == {}
    assert charts_of(make_sweep([], [])) == {}

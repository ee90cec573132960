"""Laws of the tables of a sweep."""

import csv
import dataclasses
import io
import math
import re
import statistics

import pytest
from hypothesis import given, settings

from mmdet_retina_plus.sweeps.point_labels import identity
from mmdet_retina_plus.sweeps.summary import error_lines, summarize
from mmdet_retina_plus.sweeps.tables import (
    read_value,
    summary_markdown,
    trials_csv,
)
from tests.sweeps.sweep_results import (
    ANY_POINTS,
    NASTY,
    make_sweep,
    make_trial,
    one_trial_each,
    unfinished_sweep,
)


def rows_of(sweep) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(trials_csv(sweep), newline='')))


def markdown(sweep) -> str:
    return summary_markdown(summarize(sweep))


def table_of(sweep) -> list[list[str]]:
    """Cells of the Markdown table without its rule."""
    lines = [x for x in markdown(sweep).splitlines() if x.startswith('|')]
    cells = [re.split(r'(?<!\\)\|', line)[1:-1] for line in lines]
    rows = [[cell.strip() for cell in row] for row in cells]
    return [rows[0], *rows[2:]]


def test_numbers_of_the_table_are_those_computed_by_hand():
    points = [dict(gamma=0), dict(gamma=2), dict(gamma=5)]
    values = [[0.30, 0.32, 0.37], [0.411, 0.415, 0.42], [0.2]]
    trials = [
        make_trial(10 * row + seed, points[row], seed=seed, value=value)
        for row, column in enumerate(values)
        for seed, value in enumerate(column)
    ]
    rows = table_of(make_sweep(points, trials))[1:]
    for row, column in zip(rows[:2], values[:2], strict=True):
        mean, spread = statistics.mean(column), statistics.stdev(column)
        shown = f'{100 * mean:.1f} ± {100 * spread:.1f}'
        assert row[1].strip('*') == shown
    assert [row[1] for row in rows] == ['33.0 ± 3.6', '**41.5 ± 0.5**', '20.0']
    assert [row[2] for row in rows] == ['3 of 3', '3 of 3', '1 of 3']


def test_a_metric_that_is_no_map_is_shown_as_it_is():
    sweep = one_trial_each([dict(a=1)], metric='coco/AR@100')
    assert table_of(sweep)[1][1] == '**0.3**'


def test_what_says_nothing_about_the_model_is_not_in_the_mean():
    point = dict(gamma=2)
    values = [0.3, -1.0, math.nan, None]
    trials = [
        make_trial(seed, point, seed=seed, value=value)
        for seed, value in enumerate(values)
    ]
    trials.append(make_trial(4, point, seed=4, value=0.9, state='running'))
    trials.append(make_trial(5, point, seed=5, value=0.9, state='pruned'))
    (row,) = table_of(make_sweep([point], trials, seeds=range(6)))[1:]
    assert row[1:5] == ['**30.0**', '4 of 6', '', '1']


def test_states_of_an_unfinished_sweep_are_counted():
    sweep = unfinished_sweep()
    assert summarize(sweep).counts == (
        '6 of 15 trials finished, 2 running, 5 waiting, 1 pruned, 1 failed'
    )
    finished = [row[3:6] for row in table_of(sweep)[1:]]
    assert finished == [
        ['2 of 3', '', ''],
        ['1 of 3', '', ''],
        ['1 of 3', '', '1'],
        ['1 of 3', '1', ''],
        ['1 of 3', '', ''],
    ]


def test_a_trial_tried_again_is_planned_once():
    point = dict(gamma=2.0)
    trials = [
        make_trial(0, point, state='failed', value=None, error='lost'),
        make_trial(1, point),
    ]
    sweep = make_sweep([point], trials, seeds=[0])
    assert table_of(sweep)[1][1:4] == ['**30.1**', '1 of 1', '1']


def test_a_trial_of_a_point_that_left_the_spec_is_reported():
    sweep = make_sweep([dict(a=1)], [make_trial(0, dict(b=2))], seeds=[0])
    assert [row[:4] for row in table_of(sweep)] == [
        ['a', 'b', 'bbox_mAP (%)', 'finished'],
        ['1', '', '', '0 of 1'],
        ['', '2', '**30.0**', '1 of 1'],
    ]


def test_failures_are_told_on_one_line():
    sweep = unfinished_sweep()
    error = 'Exit code 1\n\n\x1b[31mValueError: `gamma` | 2\x1b[0m\n'
    sweep.trials[8] = dataclasses.replace(sweep.trials[8], error=error)
    (line,) = [x for x in markdown(sweep).splitlines() if x.startswith('- ')]
    assert line == (
        '- Trial 8 (gamma=1.0, alpha=0.25, seed 1): '
        '``Exit code 1 / ValueError: `gamma` | 2``'
    )
    row = rows_of(sweep)[8]
    assert row['error'] == 'Exit code 1 / ValueError: `gamma` | 2'
    assert row['state'] == 'failed'


def test_markup_in_an_error_is_code():
    text = markdown(unfinished_sweep())
    assert text.count('<script>') == text.count('``<script>') == 1
    assert error_lines(NASTY) == [NASTY.strip()]


@settings(deadline=None, max_examples=60)
@given(ANY_POINTS)
def test_the_csv_gives_back_every_value(points):
    sweep = one_trial_each(points)
    rows = rows_of(sweep)
    assert len(rows) == len(points)
    fixed = {'trial', 'seed', 'state', 'metric', 'seconds', 'error', 'folder'}
    for row, point, trial in zip(rows, points, sweep.trials, strict=True):
        cells = {name: text for name, text in row.items() if text}
        values = [
            read_value(cells.pop(name))
            for name in [*cells]
            if name not in fixed
        ]
        assert repr(values) == repr(
            [point[key] for key in keys_in_order(points) if key in point]
        )
        assert float(row['metric']) == trial.value
        assert float(row['seconds']) == trial.seconds
        assert row['folder'] == trial.folder


def keys_in_order(points) -> list[str]:
    return list(dict.fromkeys(key for point in points for key in point))


@pytest.mark.parametrize(
    'value', ['SmoothL1Loss', '2.0', 'None', '', ' 3', 'a\nb', math.inf, -0.0]
)
def test_a_string_that_looks_like_a_number_stays_one(value):
    (row,) = rows_of(one_trial_each([dict(key=value)]))
    assert repr(read_value(row['key'])) == repr(value)


def test_keys_named_as_a_column_have_their_own():
    (row,) = rows_of(one_trial_each([{'seed': 7, 'point.seed': 8, 'x': 9}]))
    assert (row['seed'], row['point.seed'], row['point.point.seed']) == (
        '0',
        '8',
        '7',
    )


@settings(deadline=None, max_examples=60)
@given(ANY_POINTS)
def test_the_table_has_a_cell_a_column_whatever_the_values(points):
    rows = table_of(one_trial_each(points))
    assert len({len(row) for row in rows}) == 1
    assert len(rows) == 1 + len({identity(point) for point in points})


def test_no_point_is_the_best_where_all_are_alike():
    points = [dict(gamma=0), dict(gamma=1)]
    trials = [
        make_trial(i, point, value=0.0) for i, point in enumerate(points)
    ]
    assert '**' not in markdown(make_sweep(points, trials))
    assert '**30.0**' in markdown(one_trial_each(points[:1]))


def test_the_table_says_what_its_keys_begin_with_and_what_is_empty():
    text = markdown(one_trial_each([dict(gamma=0), dict(alpha=0.5)]))
    assert 'Before each key: model.bbox_head.loss_cls.' in text
    assert 'An empty cell is as in the config.' in text
    text = markdown(one_trial_each([dict(gamma=0), dict(gamma=1)], prefix=''))
    assert 'Before each key' not in text
    assert 'empty' not in text

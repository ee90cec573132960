"""Data that the charts of a sweep draw, one row per value."""

from collections.abc import Iterable, Sequence
from math import isnan, nan
from typing import Any

import pandas as pd

from mmdet_retina_plus.common.numbers import is_number
from mmdet_retina_plus.common.palette import PALETTE

from .point_labels import column, identity, short_labels, telling_keys
from .summary import Summary, is_meaningful
from .units import Unit

MOST_LINES = 12
"""Largest number of lines in a chart; more cannot be told apart."""
MOST_CELLS = 24
"""Largest number of cells on a side of a heat map."""


def values_of(summary: Summary, name: str, unit: Unit) -> pd.DataFrame:
    """Values of finished trials, one row each, with those of their points.

    Args:
        summary: Summary of the sweep.
        name: Column of its trials, `metric` or `time`.
        unit: Unit in which values are drawn.
    """
    trials = summary.trials.dropna(subset=name)
    values = trials.groupby('row')[name]
    means = summary.points[['label', 'short_label']].assign(
        seeds=values.count(),
        mean=values.agg(lambda x: unit.show_mean(x.mean(), x.std())),
    )
    return trials.assign(
        value=unit.factor * trials[name], shown=trials[name].map(unit.show)
    )[['row', 'seed', 'number', 'value', 'shown']].join(means, on='row')


def places(points: Sequence[dict[str, Any]], key: str) -> pd.Series:
    """Position of each point on the axis of a key, NaN where it has none."""
    values = [point.get(key) for point in points]
    return pd.Series(
        [float(x) if is_number(x) and abs(x) < 1e15 else nan for x in values],
        dtype=float,
    )


def numeric_keys(points: Sequence[dict[str, Any]]) -> list[str]:
    """Differing keys with at least two numbers, those with most first.

    Some of their values may not be numbers.
    """
    counts = {k: places(points, k).nunique() for k in telling_keys(points)}
    keys = [key for key, count in counts.items() if count > 1]
    return sorted(keys, key=lambda key: -counts[key])


def lines_of(
    points: Sequence[dict[str, Any]], rows: Iterable[int]
) -> tuple[str, dict[int, str]]:
    """Choose the numeric key with most values, and the lines over it.

    The other differing keys make the lines. There are none if they would be
    too many or have one value each; a dot plot shows these better.

    Args:
        points: All points.
        rows: Indices of points with a value to draw.

    Returns:
        The key, and the label of each row's line, lines in order.
    """
    x_key = next(iter(numeric_keys(points)), '')
    drawn = places(points, x_key).notna()
    rest = [key for key in telling_keys(points) if key != x_key]
    orders = [order_of(points, key) for key in rest]
    lines: dict[str, list[int]] = {}
    for row in sorted(rows, key=lambda row: [order[row] for order in orders]):
        if drawn[row]:
            others = {k: points[row][k] for k in rest if k in points[row]}
            lines.setdefault(identity(others), []).append(row)
    most = max(map(len, lines.values()), default=0)
    if len(lines) > MOST_LINES or (len(lines) > 1 and most == 1):
        return x_key, {}
    labels = short_labels([points[line[0]] for line in lines.values()], rest)
    return x_key, {
        row: label
        for label, line in zip(labels, lines.values(), strict=True)
        for row in line
    }


def order_of(
    points: Sequence[dict[str, Any]], key: str
) -> list[tuple[int, float]]:
    """Sort key of each point: numbers, other values in order, missing."""
    values = column(points, key)
    return [
        (2 - bool(value), values.index(value)) if isnan(place) else (0, place)
        for place, value in zip(places(points, key), values, strict=True)
    ]


def cells_of(
    values: pd.DataFrame, points: Sequence[dict[str, Any]]
) -> pd.DataFrame:
    """Add the positions of points on the axes of two numeric keys.

    Returns:
        No rows unless there are two keys and at least 2 x 2 cells.
    """
    keys = numeric_keys(points)
    if len(keys) < 2:
        return values[:0]
    x, y = (values.row.map(places(points, key)) for key in keys[:2])
    cells = values.assign(x=x, y=y).dropna(subset=['x', 'y'])
    sizes = cells.x.nunique(), cells.y.nunique()
    fits = 2 <= min(sizes) <= max(sizes) <= MOST_CELLS
    return cells if fits else values[:0]


def curves_of(summary: Summary, unit: Unit) -> pd.DataFrame:
    """Collect all validations with a score, one row each.

    The column `line` has the label of the point. If there are more points
    than colours, all but the best are `minor` and share a line.
    """
    curves = pd.DataFrame(
        [
            (trial.row, trial.number, trial.seed, trial.state, step, value)
            for trial in summary.trials.itertuples()
            for step, value in sorted(trial.curve.items())
            if is_meaningful(value, summary.sweep.metric)
        ],
        columns=['row', 'number', 'seed', 'state', 'step', 'value'],
    ).join(summary.points[['label', 'short_label']], on='row')
    best = curves.groupby('row').value.max()
    ranks = summary.points['mean'].combine_first(best)[best.index]
    count = len(ranks)
    if count > len(PALETTE):
        ranks = ranks.nlargest(len(PALETTE) - 1)
    minor = ~curves.row.isin(ranks.index)
    others = f'{count - len(ranks)} other points'
    return curves.assign(
        value=unit.factor * curves.value,
        shown=curves.value.map(unit.show),
        finished=curves.state == 'complete',
        minor=minor,
        line=curves.short_label.mask(minor, others),
    )

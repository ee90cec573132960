"""Charts of a sweep as data, which `pictures` and `plotly_figures` draw."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from mmdet_retina_plus.common.numbers import is_number
from mmdet_retina_plus.common.palette import PALETTE

from .point_labels import (
    UNCHANGED,
    column,
    identity,
    keys_of,
    short_keys,
    short_labels,
    telling_keys,
)
from .summary import (
    PointResult,
    Summary,
    is_meaningful,
)
from .sweep_result import SweepResult, TrialResult
from .units import Unit, metric_unit, time_unit

CHARTS = ('metric', 'points', 'heat_map', 'curves', 'time')
"""Every name that a chart may have."""
GREY = '#bdbdbd'
MOST_LINES = 12
"""Largest number of lines in a chart; more cannot be told apart."""
MOST_CELLS = 24
"""Largest number of cells on a side of a heat map."""


@dataclass(frozen=True)
class Chart:
    """Attributes that all charts share.

    Attributes:
        name: Stem of its file.
        title: One line.
        note: How to read it, one line.
        x_label: Name of the axis, with the unit.
        y_label: Name of the axis, with the unit.
    """

    name: str
    title: str
    note: str
    x_label: str
    y_label: str


@dataclass(frozen=True)
class Spot:
    """A mean with its spread and each value.

    Attributes:
        position: On the axis of the points.
        beside: A little further on that axis, where the values are not
            hidden by the bar.
        mean: Mean in the unit of the other axis.
        spread: Half the length of the bar, 0 for no bar.
        values: One a seed.
        hover: Lines on the mean.
        value_hovers: Lines on each value.
    """

    position: float
    beside: float
    mean: float
    spread: float
    values: list[float]
    hover: list[str]
    value_hovers: list[list[str]]


@dataclass(frozen=True)
class Line:
    """Spots in order of their positions; an empty label for the only line."""

    label: str
    color: str
    spots: list[Spot]


@dataclass(frozen=True)
class Lines(Chart):
    """A number over a numeric key."""

    log_x: bool
    lines: list[Line]


@dataclass(frozen=True)
class Dots(Chart):
    """A number for each point, the points from top to bottom.

    The position of a spot is the index of its label.
    """

    from_zero: bool
    labels: list[str]
    spots: list[Spot]


@dataclass(frozen=True)
class HeatMap(Chart):
    """A number over two keys.

    Attributes:
        x_ticks: Tick labels from left to right.
        y_ticks: Tick labels from bottom to top.
        cells: [y][x], None where nothing is known.
        texts: Text in each cell, as `cells`.
        hovers: Lines on each cell.
    """

    x_ticks: list[str]
    y_ticks: list[str]
    cells: list[list[float | None]]
    texts: list[list[str]]
    hovers: list[list[list[str]]]


@dataclass(frozen=True)
class Curve:
    """Values of one trial over training steps.

    Attributes:
        label: The same for trials that share a colour.
        color: Colour of the line.
        minor: Whether the point is one of those without a colour.
        dotted: The trial is not complete.
        steps: Training steps, ascending.
        values: One a step.
        hovers: Lines on each value.
    """

    label: str
    color: str
    minor: bool
    dotted: bool
    steps: list[int]
    values: list[float]
    hovers: list[list[str]]


@dataclass(frozen=True)
class Curves(Chart):
    """Learning curves, those of one label in a row and with one colour.

    Attributes:
        whole_x: Ticks are whole numbers.
        curves: Curves in the order of drawing.
    """

    whole_x: bool
    curves: list[Curve]


def make_charts(sweep: SweepResult, results: list[PointResult]) -> list[Chart]:
    """Every chart that the sweep has the values for by now."""
    unit = metric_unit(sweep.metric)
    lines = metric_lines(results, unit)
    on_lines = sum(len(line.spots) for line in lines.lines) if lines else 0
    measured = sum(result.metric is not None for result in results)
    charts = [
        lines,
        metric_dots(results, unit) if on_lines < measured else None,
        heat_map(results, unit),
        learning_curves(sweep, results, unit),
        time_dots(results),
    ]
    return [chart for chart in charts if chart]


def has_place(value: Any) -> TypeGuard[int | float]:
    """Whether a value can be a position on an axis."""
    return is_number(value) and abs(value) < 1e15


def numeric_keys(points: Sequence[dict[str, Any]]) -> list[str]:
    """Telling keys with at least two numbers, those with most numbers first.

    Values that are no numbers may be among them.
    """
    counts = {
        key: len({identity(p[key]) for p in points if has_place(p.get(key))})
        for key in telling_keys(points)
    }
    keys = [key for key, count in counts.items() if count > 1]
    return sorted(keys, key=lambda key: -counts[key])


def colors(count: int) -> list[str]:
    """Colours of lines in an order, all different."""
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    scale = colormaps['viridis']
    return [to_hex(scale(0.92 * i / (count - 1))) for i in range(count)]


def make_spot(
    position: float,
    beside: float,
    summary: Summary,
    unit: Unit,
    text: str,
) -> Spot:
    count = len(summary.values)
    noun = 'seed' if count == 1 else 'seeds'
    return Spot(
        position=position,
        beside=beside,
        mean=unit.factor * summary.mean,
        spread=unit.factor * (summary.spread or 0.0),
        values=[unit.factor * value for value in summary.values],
        hover=[
            text,
            f'{unit.label}: {unit.show_summary(summary)}',
            f'{count} {noun}',
        ],
        value_hovers=[
            [
                text,
                f'{unit.label}: {unit.show(value)}',
                f'seed {trial.seed}, trial {trial.number}',
            ]
            for trial, value in zip(
                summary.trials, summary.values, strict=True
            )
        ],
    )


def metric_lines(results: list[PointResult], unit: Unit) -> Lines | None:
    """The metric over the numeric key with most values, where lines can tell.

    All the other keys that differ make the lines.
    """
    points = [result.point for result in results]
    numeric = numeric_keys(points)
    if not numeric:
        return None
    x_key = numeric[0]
    names = short_keys(keys_of(points))
    lines = group_lines(results, x_key)
    # One spot a line is a list of points: `Dots` is better at that.
    if not lines or len(lines) > MOST_LINES:
        return None
    if len(lines) > 1 and max(map(len, lines)) == 1:
        return None
    positions = [result.point[x_key] for line in lines for result in line]
    log = min(positions) > 0 and max(positions) / min(positions) >= 100
    rest = [key for key in telling_keys(points) if key != x_key]
    texts = short_labels([line[0].point for line in lines], rest)
    return Lines(
        name='metric',
        title=f'{unit.label} over {names[x_key]}',
        note='Means of finished seeds, bars of one sample standard '
        'deviation; small marks beside them are single seeds.',
        x_label=names[x_key],
        y_label=unit.label,
        log_x=log,
        lines=[
            Line(
                text if texts != [UNCHANGED] else '',
                color,
                make_spots(line, x_key, beside(positions, log), unit),
            )
            for text, color, line in zip(
                texts, colors(len(lines)), lines, strict=True
            )
        ],
    )


def group_lines(
    results: list[PointResult], x_key: str
) -> list[list[PointResult]]:
    """Points with the metric and a number for a key, by their other keys."""
    keys = telling_keys([result.point for result in results])
    rest = [key for key in keys if key != x_key]
    lines: dict[str, list[PointResult]] = {}
    seen = {
        key: list(dict.fromkeys(column([r.point for r in results], key)))
        for key in rest
    }
    for result in sorted(results, key=lambda result: line_order(result, seen)):
        point = result.point
        if result.metric and has_place(point.get(x_key)):
            others = {key: point[key] for key in rest if key in point}
            lines.setdefault(identity(others), []).append(result)
    return list(lines.values())


def beside(positions: list[float], log: bool) -> Callable[[float], float]:
    """Where on the axis, a hundredth of its length further, values go."""
    low, high = min(positions), max(positions)
    if log:
        return lambda x: x * (high / low) ** 0.01
    return lambda x: x + 0.01 * (high - low)


def make_spots(
    results: list[PointResult],
    x_key: str,
    beside: Callable[[float], float],
    unit: Unit,
) -> list[Spot]:
    """One spot a point, from left to right."""
    spots = []
    for result in results:
        assert result.metric is not None
        x = float(result.point[x_key])
        spots.append(
            make_spot(x, beside(x), result.metric, unit, result.label)
        )
    return sorted(spots, key=lambda spot: spot.position)


def line_order(
    result: PointResult, seen: dict[str, list[str]]
) -> list[tuple[int, float]]:
    """Numbers in order, then other values, then points without the key.

    Args:
        result: Result of a point.
        seen: Identities of the values of each key, in the spec's order.
    """
    order: list[tuple[int, float]] = []
    for key, values in seen.items():
        value = result.point.get(key)
        if has_place(value):
            order.append((0, float(value)))
        elif key in result.point:
            order.append((1, values.index(identity(value))))
        else:
            order.append((2, 0))
    return order


def dots(
    pairs: list[tuple[PointResult, Summary]],
    unit: Unit,
    **text: Any,
) -> Dots | None:
    """One row a point, None without points."""
    if not pairs:
        return None
    return Dots(
        labels=[result.short_label for result, _ in pairs],
        spots=[
            make_spot(row, row + 0.25, summary, unit, result.label)
            for row, (result, summary) in enumerate(pairs)
        ],
        x_label=unit.label,
        y_label='',
        **text,
    )


def metric_dots(results: list[PointResult], unit: Unit) -> Dots | None:
    pairs = [(result, result.metric) for result in results if result.metric]
    return dots(
        sorted(pairs, key=lambda pair: -pair[1].mean),
        unit,
        name='points',
        title=f'{unit.label} of each point, best first',
        note='Means of finished seeds, bars of one sample standard '
        'deviation; small marks beside them are single seeds.',
        from_zero=False,
    )


def time_dots(results: list[PointResult]) -> Dots | None:
    pairs = [(result, result.seconds) for result in results if result.seconds]
    unit = time_unit(value for _, summary in pairs for value in summary.values)
    return dots(
        pairs,
        unit,
        name='time',
        title='Time of a trial',
        note='Means of finished trials; small marks below are single trials.',
        from_zero=True,
    )


def heat_map(results: list[PointResult], unit: Unit) -> HeatMap | None:
    """Mean metric over two numeric keys, where there are 2 x 2 cells."""
    points = [result.point for result in results]
    if len(numeric_keys(points)) < 2:
        return None
    x_key, y_key = numeric_keys(points)[:2]
    cells: dict[tuple[float, float], list[PointResult]] = {}
    for result in results:
        x, y = result.point.get(x_key), result.point.get(y_key)
        if result.metric and has_place(x) and has_place(y):
            cells.setdefault((float(y), float(x)), []).append(result)
    ys = sorted({y for y, _ in cells})
    xs = sorted({x for _, x in cells})
    if not 2 <= min(len(xs), len(ys)) <= max(len(xs), len(ys)) <= MOST_CELLS:
        return None
    names = short_keys(keys_of(points))
    shared = any(len(cell) > 1 for cell in cells.values())
    grid = [[cells.get((y, x), []) for x in xs] for y in ys]
    means = [[cell_mean(cell) for cell in row] for row in grid]
    return HeatMap(
        name='heat_map',
        title=f'{unit.label} over {names[x_key]} and {names[y_key]}',
        note='Means of finished seeds'
        + (' and of points that share a cell' if shared else '')
        + '; empty cells have none.',
        x_label=names[x_key],
        y_label=names[y_key],
        x_ticks=[f'{x:.6g}' for x in xs],
        y_ticks=[f'{y:.6g}' for y in ys],
        cells=[
            [None if mean is None else unit.factor * mean for mean in row]
            for row in means
        ],
        texts=[
            ['' if mean is None else unit.show(mean) for mean in row]
            for row in means
        ],
        hovers=[
            [[line for r in cell for line in hover(r, unit)] for cell in row]
            for row in grid
        ],
    )


def cell_mean(cell: list[PointResult]) -> float | None:
    values = [v for r in cell if r.metric for v in r.metric.values]
    return sum(values) / len(values) if values else None


def hover(result: PointResult, unit: Unit) -> list[str]:
    assert result.metric is not None
    return make_spot(0, 0, result.metric, unit, result.label).hover


def learning_curves(
    sweep: SweepResult, results: list[PointResult], unit: Unit
) -> Curves | None:
    """The metric of every trial over its steps, coloured by point.

    Beyond the colours there are, all but the best points are grey.
    """
    begun = [
        result
        for result in results
        if any(usable_curve(trial, sweep.metric) for trial in result.trials)
    ]
    if not begun:
        return None
    shown = begun
    if len(begun) > len(PALETTE):
        shown = sorted(begun, key=lambda r: -height(r, sweep.metric))
        shown = shown[: len(PALETTE) - 1]
    styles = {
        id(result): (result.short_label, color)
        for result, color in zip(shown, PALETTE, strict=False)
    }
    others = (f'{len(begun) - len(shown)} other points', GREY)
    # The grey ones first, below the others; finished ones first, so that the
    # legend has them.
    ordered = [r for r in begun if id(r) not in styles] + shown
    curves = [
        make_curve(result, trial, sweep, unit, *styles.get(id(result), others))
        for result in ordered
        for trial in sorted(result.trials, key=lambda t: t.state != 'complete')
        if usable_curve(trial, sweep.metric)
    ]
    best = f' The {len(shown)} best points have colours.'
    return Curves(
        name='curves',
        title='Learning curves',
        note='One line a trial, dotted where it is not finished.'
        + (best if len(shown) < len(begun) else ''),
        x_label=step_unit(sweep),
        whole_x=sweep.by_epoch,
        y_label=unit.label,
        curves=curves,
    )


def step_unit(sweep: SweepResult) -> str:
    """What the runs of a sweep count."""
    return 'epoch' if sweep.by_epoch else 'training step'


def usable_curve(trial: TrialResult, metric: str) -> dict[int, float]:
    """Validations with a score, in order of their steps."""
    return {
        step: value
        for step, value in sorted(trial.curve.items())
        if is_meaningful(value, metric)
    }


def height(result: PointResult, metric: str) -> float:
    """What points are ranked by: their mean, else their best validation."""
    if result.metric:
        return result.metric.mean
    return max(
        max(curve.values())
        for curve in (usable_curve(trial, metric) for trial in result.trials)
        if curve
    )


def make_curve(
    result: PointResult,
    trial: TrialResult,
    sweep: SweepResult,
    unit: Unit,
    text: str,
    color: str,
) -> Curve:
    curve = usable_curve(trial, sweep.metric)
    return Curve(
        label=text,
        color=color,
        minor=color == GREY,
        dotted=trial.state != 'complete',
        steps=list(curve),
        values=[unit.factor * value for value in curve.values()],
        hovers=[
            [
                result.label,
                f'{unit.label}: {unit.show(value)}',
                f'{step_unit(sweep)} {step}',
                f'seed {trial.seed}, trial {trial.number}, {trial.state}',
            ]
            for step, value in curve.items()
        ],
    )

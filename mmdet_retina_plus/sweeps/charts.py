"""Charts of a sweep by Altair, for its page and as files."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from mmdet_retina_plus.common.palette import PALETTE

from .chart_data import (
    cells_of,
    curves_of,
    lines_of,
    numeric_keys,
    places,
    values_of,
)
from .point_labels import UNCHANGED, clip, keys_of, short_keys
from .summary import Summary, SweepResult
from .units import Unit, metric_unit, time_unit

CHARTS = ('metric', 'points', 'heat_map', 'curves', 'time')
"""Every name that a chart may have."""
GREY = '#bdbdbd'
WIDTH = 680
"""Pixels."""
SPREADS = (
    'Means of finished seeds; bars are one sample standard deviation, small '
    'marks are single seeds.'
)
TRIAL = ('seed:Q', alt.Tooltip('number:Q', title='trial'))
STYLE: dict[str, Any] = dict(
    axis=dict(gridColor='#e6e6e6', domainColor='#888888', titleLimit=WIDTH),
    axisY=dict(labelLimit=WIDTH),
    legend=dict(orient='bottom', columns=2, labelLimit=WIDTH, symbolLimit=0),
    point=dict(filled=True),
    title=dict(anchor='start', fontSize=15, subtitleColor='#555555'),
    view=dict(stroke=None),
)


def make_charts(summary: Summary) -> dict[str, dict[str, Any]]:
    """Draw every chart that the sweep has values for.

    Returns:
        Vega-Lite specification with its data, by name.
    """
    sweep, points = summary.sweep, list(summary.points.point)
    unit = metric_unit(sweep.metric)
    values = values_of(summary, 'metric', unit)
    x_key, lines = lines_of(points, values.row.unique())
    charts = {}
    if lines:
        charts['metric'] = metric_lines(values, points, x_key, lines, unit)
    if len(lines) < values.row.nunique():
        charts['points'] = metric_dots(values, unit)
    cells = cells_of(values, points)
    if not cells.empty:
        charts['heat_map'] = heat_map(cells, points, unit)
    curves = curves_of(summary, unit)
    if not curves.empty:
        charts['curves'] = learning_curves(curves, sweep, unit)
    if summary.trials.time.notna().any():
        charts['time'] = time_dots(summary)
    # Altair's limit is meant for notebooks.
    with alt.data_transformers.disable_max_rows():
        return {
            name: chart.configure(**STYLE).to_dict()
            for name, chart in charts.items()
        }


def colors(labels: Sequence[str]) -> alt.Color:
    """Colours of the lines, with a legend if there are several."""
    scale = alt.Scale(domain=labels, range=PALETTE[: len(labels)])
    if len(labels) > len(PALETTE):
        scale = alt.Scale(domain=labels, scheme='viridis')
    legend = None if labels == [UNCHANGED] else alt.Legend(title=None)
    return alt.Color('line:N', scale=scale, legend=legend)


def titled(chart: Any, text: str, note: str) -> Any:
    """Add a title and a note to a chart."""
    title = alt.Title(clip(text, 90), subtitle=note)
    return chart.properties(title=title, width=WIDTH)


def tooltip(unit: Unit, text: str, *more: str | alt.Tooltip) -> list[Any]:
    """Tooltip with the point, its value as text, and more fields."""
    point = alt.Tooltip('label:N', title='point')
    return [point, alt.Tooltip(text, title=unit.label), *more]


def marks(
    values: pd.DataFrame, unit: Unit, sideways: bool, zero: bool, **encoding
) -> Any:
    """Draw means with their spread and a small mark per seed.

    Args:
        values: See `values_of`.
        unit: Unit of the values.
        sideways: Whether values are on the x axis.
        zero: Whether their axis starts at 0.
        **encoding: The other channels.
    """
    channel, offset = (alt.X, 'yOffset') if sideways else (alt.Y, 'xOffset')
    scale = alt.Scale(zero=zero, padding=0 if zero else 10)
    value, mean = (
        channel(field, title=unit.label, scale=scale)
        for field in ('value:Q', 'mean(value):Q')
    )
    base: Any = alt.Chart(values).encode(**encoding)
    seeds = base.mark_point(size=14, opacity=0.6, **{offset: 7})
    means = base.mark_point(size=60)
    layers = [
        # First, since zooming uses the first layer and not the means.
        seeds.encode(value, tooltip=tooltip(unit, 'shown:N', *TRIAL)),
        means.encode(mean, tooltip=tooltip(unit, 'mean:N', 'seeds:Q')),
    ]
    if values.seeds.max() > 1:
        bars = base.mark_errorbar(extent='stdev', ticks=dict(size=8))
        layers.append(bars.encode(value, tooltip=alt.value(None)))
    return alt.layer(*layers)


def metric_lines(
    values: pd.DataFrame,
    points: Sequence[dict[str, Any]],
    x_key: str,
    lines: dict[int, str],
    unit: Unit,
) -> alt.LayerChart:
    """The metric over a key, with the lines of `lines_of`."""
    shown = values[values.row.isin(lines)].assign(
        x=values.row.map(places(points, x_key)), line=values.row.map(lines)
    )
    name = short_keys(keys_of(points))[x_key]
    low, high = shown.x.min(), shown.x.max()
    scale: Any = 'log' if low > 0 and high >= 100 * low else 'linear'
    chosen = alt.selection_point(fields=['line'], bind='legend')
    encoding = dict(
        x=alt.X('x:Q', title=name).scale(
            type=scale, zero=False, nice=False, padding=10
        ),
        color=colors(list(dict.fromkeys(lines.values()))),
        opacity=alt.when(chosen).then(alt.value(1)).otherwise(alt.value(0.1)),
    )
    mean = alt.Y('mean(value):Q', title=unit.label)
    line = alt.Chart(shown).mark_line().encode(y=mean, **encoding)
    chart = marks(shown, unit, False, False, **encoding) + line
    chart = chart.add_params(chosen).interactive()
    return titled(chart, f'{unit.label} over {name}', SPREADS)


def metric_dots(values: pd.DataFrame, unit: Unit) -> alt.LayerChart:
    """The metric of each point, the best at the top."""
    means = values.groupby('row').value.transform('mean')
    order = means.sort_values(ascending=False, kind='stable').index
    text = f'{unit.label} of each point, best first'
    return titled(dots(values.loc[order], unit, zero=False), text, SPREADS)


def time_dots(summary: Summary) -> alt.LayerChart:
    """The time of finished trials of each point."""
    unit = time_unit(summary.trials.time.max())
    return titled(
        dots(values_of(summary, 'time', unit), unit, zero=True),
        'Time of a trial',
        'Means of finished trials; small marks below are single trials.',
    )


def dots(values: pd.DataFrame, unit: Unit, zero: bool) -> alt.LayerChart:
    """One row per point, from top to bottom as the points come."""
    labels = list(values.short_label.unique())
    y = alt.Y('short_label:N', title=None, sort=labels)
    color = alt.value(PALETTE[0])
    chart = marks(values, unit, True, zero, y=y, color=color)
    return chart.properties(height=alt.Step(26)).interactive(bind_y=False)


def heat_map(
    values: pd.DataFrame, points: Sequence[dict[str, Any]], unit: Unit
) -> alt.LayerChart:
    """The mean metric in each cell of `cells_of`."""
    x_name, y_name = (
        short_keys(keys_of(points))[key] for key in numeric_keys(points)[:2]
    )
    cells = values.groupby(['x', 'y'], as_index=False).agg(
        value=('value', 'mean'),
        seeds=('value', 'count'),
        points=('row', 'nunique'),
        label=('label', lambda labels: '; '.join(labels.unique())),
    )
    cells['shown'] = [format(value, unit.pattern) for value in cells.value]
    base = alt.Chart(cells).encode(
        x=alt.X('x:O', title=x_name).axis(format='~g', labelAngle=0),
        y=alt.Y('y:O', title=y_name, sort='descending').axis(format='~g'),
        tooltip=tooltip(unit, 'shown:N', 'seeds:Q'),
    )
    color = alt.Color('value:Q', legend=None).scale(scheme='cividis')
    rects = base.mark_rect(stroke='white').encode(color=color)
    is_light = alt.datum.value > (cells.value.min() + cells.value.max()) / 2
    texts = base.mark_text(fontSize=min(11, 110 / cells.x.nunique())).encode(
        text='shown:N',
        color=alt.when(is_light)
        .then(alt.value('black'))
        .otherwise(alt.value('white')),
    )
    is_shared = cells.points.max() > 1
    shared = ' and of points that share a cell' if is_shared else ''
    return titled(
        (rects + texts).properties(height=alt.Step(40)),
        f'{unit.label} over {x_name} and {y_name}',
        f'Means of finished seeds{shared}; empty cells have none.',
    )


def learning_curves(
    curves: pd.DataFrame, sweep: SweepResult, unit: Unit
) -> alt.LayerChart:
    """The curves of `curves_of` over steps, coloured by their lines."""
    # Grey ones first, below the others.
    curves = curves.sort_values('minor', ascending=False, kind='stable')
    best = list(curves.line[~curves.minor].unique())
    rest = list(curves.line[curves.minor].unique())
    step = 'epoch' if sweep.by_epoch else 'training step'
    base = alt.Chart(curves).encode(
        x=alt.X('step:Q', title=step)
        .axis(tickMinStep=1)
        .scale(zero=False, nice=False, padding=10),
        y=alt.Y('value:Q', title=unit.label).scale(zero=False, padding=10),
        color=alt.Color('line:N', title=None).scale(
            domain=best + rest,
            range=[*PALETTE[: len(best)], *[GREY] * len(rest)],
        ),
        detail='number:N',
    )
    minor = alt.when(alt.datum.minor)
    dashes = alt.Scale(domain=[True, False], range=[[1, 0], [2, 3]])
    chart = base.mark_line().encode(
        strokeDash=alt.StrokeDash('finished:N', scale=dashes, legend=None),
        strokeWidth=minor.then(alt.value(0.7)).otherwise(alt.value(1.6)),
    ) + base.mark_point().encode(
        size=minor.then(alt.value(4)).otherwise(alt.value(20)),
        tooltip=tooltip(
            unit,
            'shown:N',
            alt.Tooltip('step:Q', title=step),
            *TRIAL,
            'state:N',
        ),
    )
    note = 'One line per trial, dotted if it is not finished.'
    if rest:
        note += f' The {len(best)} best points have colours.'
    return titled(chart.interactive(), 'Learning curves', note)

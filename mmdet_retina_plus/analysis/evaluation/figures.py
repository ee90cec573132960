"""Figures of a metric, by plotly."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmdet_retina_plus.common.palette import PALETTE

from .plotly_html import empty_figure, plain
from .tables import BACKGROUND

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SHOWN = 8
"""Number of classes whose curves are shown at first; a click shows others."""
MOST_TEXTS = 20
"""Maximum number of classes for numbers in the confusion matrix."""
UNIT = (0, 1.02)


def recall_figure(numbers: Mapping[str, Any]) -> 'Figure':
    """Draw precision over recall: all classes at three IoUs, each at .5."""
    figure = empty_figure('recall', 'precision')
    curves = numbers['curves']
    *classes, together = curves['of']
    for key, name, dash in (
        ('precision_50', 'all, IoU .5', 'solid'),
        ('precision_75', 'all, IoU .75', 'dash'),
        ('precision_mean', 'all, mean of IoU .5 to .95', 'dot'),
    ):
        figure.add_scatter(
            x=curves['recall'],
            y=together[key],
            name=name,
            line=dict(color='#222222', width=2.5, dash=dash),
        )
    if len(classes) > 1:  # The line of a single one would hide the first.
        add_classes(figure, classes, curves['recall'], 'precision_50')
    return unit_axes(figure)


def score_figure(numbers: Mapping[str, Any]) -> 'Figure':
    """Draw precision, recall and F1 of all classes over the score."""
    figure = empty_figure('score threshold', '')
    curves = numbers['curves']
    together = curves['of'][-1]
    for key, color in zip(
        ('precision', 'recall', 'F1'), PALETTE, strict=False
    ):
        figure.add_scatter(
            x=curves['score'],
            y=together[key],
            name=key,
            line=dict(color=color, width=2.5),
        )
    best = numbers['best']
    if best['score'] is not None:
        figure.add_scatter(
            x=[best['score']],
            y=[best['F1']],
            name='largest F1',
            mode='markers',
            marker=dict(size=11, color=PALETTE[2], symbol='diamond'),
        )
    return unit_axes(figure)


def f1_figure(numbers: Mapping[str, Any]) -> 'Figure':
    """Draw F1 of each class over the score."""
    figure = empty_figure('score threshold', 'F1')
    curves = numbers['curves']
    add_classes(figure, curves['of'][:-1], curves['score'], 'F1')
    return unit_axes(figure)


def add_classes(
    figure: 'Figure', curves: Sequence[Mapping], x: Sequence[float], key: str
) -> None:
    """Add a thin line per class."""
    for number, curve in enumerate(curves):
        figure.add_scatter(
            x=x,
            y=curve[key],
            name=plain(curve['name']),
            line=dict(color=PALETTE[number % len(PALETTE)], width=1.2),
            visible=True if number < SHOWN else 'legendonly',
        )


def unit_axes(figure: 'Figure') -> 'Figure':
    """Set axes from 0 to 1, with a legend that has room for many lines."""
    figure.update_yaxes(range=UNIT)
    return figure.update_layout(
        legend=dict(orientation='v', x=1.01, y=1, yanchor='top')
    )


def threshold_figure(numbers: Mapping[str, Any]) -> 'Figure':
    """Draw AP and AR at each IoU threshold."""
    figure = empty_figure('IoU threshold', '')
    rows = numbers['by_threshold']
    for key, color in zip(('AP', 'AR'), PALETTE, strict=False):
        figure.add_scatter(
            x=[row['IoU'] for row in rows],
            y=[row[key] for row in rows],
            name=key,
            mode='lines+markers',
            line=dict(color=color, width=2),
        )
    return figure.update_yaxes(range=UNIT)


def error_figure(numbers: Mapping[str, Any]) -> 'Figure':
    """Draw the cost of each kind of error."""
    errors = numbers['errors']
    figure = empty_figure('AP at IoU .5 that correcting it gains', '')
    names = list(errors)[::-1]
    figure.add_bar(
        y=names,
        x=[errors[name]['cost'] for name in names],
        text=[f'{errors[name]["cost"]:.3f}' for name in names],
        textposition='outside',
        cliponaxis=False,
        orientation='h',
        marker=dict(color=PALETTE[0]),
    )
    return figure.update_layout(height=300, margin=dict(l=60, r=60))


def confusion_figure(
    numbers: Mapping[str, Any], classes: Sequence[str]
) -> 'Figure':
    """Draw the confusion matrix, coloured by fractions of rows."""
    matrix = np.array(numbers['confusion'], np.int32)
    totals = matrix.sum(axis=1, keepdims=True)
    shares = (matrix / np.maximum(totals, 1)).astype(np.float32)
    names = [plain(name) for name in [*classes, BACKGROUND]]
    places = list(range(len(names)))
    figure = empty_figure('detected as', 'object')
    figure.add_heatmap(
        z=shares,
        text=matrix,
        texttemplate='%{text}' if len(classes) <= MOST_TEXTS else None,
        # A text for each cell would take 70 MB for 1,200 classes.
        hovertemplate='%{y} detected as %{x}: %{text:,} (%{z:.1%})'
        '<extra></extra>',
        colorscale='Blues',
        showscale=False,
        zmin=0,
        zmax=1,
    )
    ticks = dict(tickvals=places, ticktext=names, showgrid=False)
    figure.update_xaxes(ticks)
    figure.update_yaxes(ticks, autorange='reversed')
    return figure.update_layout(height=160 + max(260, 20 * len(names)))


def calibration_figure(calibration: Mapping[str, Any]) -> 'Figure':
    """Draw precision over score; calibrated scores lie on the diagonal."""
    figure = empty_figure('score', 'precision at IoU .5')
    bins = [item for item in calibration['bins'] if item['count']]
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode='lines',
        name='calibrated',
        line=dict(color='#888888', dash='dash'),
    )
    figure.add_bar(
        x=[(item['low'] + item['high']) / 2 for item in bins],
        y=[item['precision'] for item in bins],
        width=0.095,
        name='precision',
        marker=dict(color=PALETTE[0], opacity=0.75),
        hovertext=[
            f'{item["count"]:,} detections, mean score {item["score"]:.3f}, '
            f'precision {item["precision"]:.3f}'
            for item in bins
        ],
        hoverinfo='text',
    )
    figure.add_scatter(
        x=[item['score'] for item in bins],
        y=[item['precision'] for item in bins],
        mode='markers',
        name='at the mean score',
        marker=dict(color=PALETTE[1], size=8),
    )
    return figure.update_xaxes(range=UNIT).update_yaxes(range=UNIT)

"""Plots of a comparison: positives over size, overlaps of negatives."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmdet_retina_plus.analysis.loss_pictures import encoded
from mmdet_retina_plus.common.palette import PALETTE

from .negatives import NegativeOverlaps

MARKERS = 'osD^vPX'
EDGES = np.arange(0, 1.0001, 0.05)


def draw_positives_over_size(
    objects: Mapping[str, Sequence[Mapping[str, float]]],
) -> bytes:
    """Draw a dot per object, and a line through the means by size, as PNG.

    Args:
        objects: `side` in pixels and `positives` of objects, by strategy.
    """
    figure = Figure(figsize=(9, 4.6), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    spread = np.random.default_rng(0)
    for number, (name, items) in enumerate(objects.items()):
        colour = PALETTE[number % len(PALETTE)]
        sides = np.array([item['side'] for item in items], float)
        counts = np.array([item['positives'] for item in items], float)
        jitter = spread.uniform(-0.1, 0.1, len(counts))
        axes.scatter(
            sides, counts + jitter, s=8, color=colour, alpha=0.35, lw=0
        )
        axes.plot(
            *means(sides, counts),
            color=colour,
            marker=MARKERS[(number + number // len(PALETTE)) % len(MARKERS)],
            markersize=5,
            label=name,
        )
    axes.set_xscale('log', base=2)
    axes.set_yscale('symlog', linthresh=1, linscale=0.4)
    axes.set(
        xlabel='object size: square root of the box area, original pixels',
        ylabel='positives per object',
    )
    axes.set_ylim(bottom=-0.2)
    axes.xaxis.set_major_formatter('{x:g}')
    axes.yaxis.set_major_formatter('{x:g}')
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    figure.legend(loc='outside right upper', frameon=False, fontsize=9)
    return encoded(figure)


def means(sides: np.ndarray, counts: np.ndarray) -> tuple[list, list]:
    """Mean size and mean count of every half octave of size."""
    bins = np.floor(2 * np.log2(np.maximum(sides, 1e-3)))
    groups = [bins == value for value in np.unique(bins)]
    return (
        [float(sides[group].mean()) for group in groups],
        [float(counts[group].mean()) for group in groups],
    )


def draw_negatives(overlaps: Mapping[str, NegativeOverlaps]) -> bytes:
    """Draw a histogram per strategy, random against hardest, as PNG."""
    columns = min(3, len(overlaps))
    rows = -(-len(overlaps) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.7 * rows), layout='constrained')
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(overlaps) :]:
        axes.set_visible(False)
    for axes, (name, item) in zip(grid.flat, overlaps.items(), strict=False):
        groups = dict(random=item.random)
        if item.hardest is not None:
            groups['hardest'] = item.hardest
        for (label, values), colour in zip(
            groups.items(), ('#777777', '#d55e00'), strict=False
        ):
            axes.hist(
                values,
                EDGES,
                weights=np.full(len(values), 1 / max(len(values), 1)),
                histtype='step',
                linewidth=1.8,
                color=colour,
                label=f'{label}, {share_above(values):.0%} above .05',
            )
        axes.set_title(name, fontsize=9)
        axes.set(yscale='log', xlim=(0, 1), ylim=(1e-3, 8))
        axes.legend(frameon=False, fontsize=8, loc='upper right')
        axes.grid(alpha=0.3)
    figure.supxlabel('largest IoU with an object', fontsize=9)
    figure.supylabel('fraction of the negatives', fontsize=9)
    return encoded(figure)


def share_above(values: np.ndarray, limit: float = 0.05) -> float:
    return float((values > limit).mean()) if len(values) else 0.0

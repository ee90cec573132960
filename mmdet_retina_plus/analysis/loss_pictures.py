"""Figures of losses: one line per gamma, from dark to light."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

Lines = Mapping[str, tuple[NDArray, NDArray]]
"""x and y values by label."""


def two_panels() -> tuple[Figure, Any]:
    """Make a figure with two axes side by side."""
    figure = Figure(figsize=(10, 4.2), layout='constrained')
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2)
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
    return figure, panels


def encoded(figure: Figure, format: str = 'png') -> bytes:
    """Encode a figure as the content of a file.

    Raises:
        ValueError: matplotlib does not know the format.
    """
    file = BytesIO()
    figure.savefig(file, format=format, dpi=150)
    return file.getvalue()


def plot_lines(axes: Any, lines: Lines, dashed: bool = False) -> None:
    """Plot lines in an ordered colour map suitable for the colour-blind.

    Args:
        axes: Axes to draw into.
        lines: Lines, drawn from dark to light.
        dashed: Whether to dash them, in brown to orange, to distinguish them
            from other lines.
    """
    count = max(2, len(lines))
    if dashed:
        colours = colormaps['YlOrBr'](np.linspace(0.85, 0.5, count))
        widths = np.full(count, 1.5)
    else:
        # The yellow end is hard to see on white.
        colours = colormaps['viridis'](np.linspace(0, 0.85, count))
        # Wide lines remain visible below others.
        widths = np.linspace(3, 1.5, count)
    for (label, (x, y)), colour, width in zip(
        lines.items(), colours, widths, strict=False
    ):
        style = '--' if dashed else '-'
        axes.plot(x, y, style, label=label, color=colour, linewidth=width)


def draw_cumulative(positives: Lines, negatives: Lines, title: str) -> bytes:
    """Plot cumulative distributions, one panel each; either may be empty.

    An inset shows the hardest percent of the negatives, which have most of
    their focal loss. It lies above the diagonal, which no curve of sorted
    losses crosses.

    Returns:
        Content of the PNG file.
    """
    figure, panels = two_panels()
    figure.suptitle(title)
    for axes, lines, name in zip(
        panels, (positives, negatives), ('positives', 'negatives'), strict=True
    ):
        plot_lines(axes, lines)
        axes.set(
            xlabel=f'fraction of {name}, easy to hard',
            ylabel='cumulative normalized loss',
            xlim=(0, 1),
            ylim=(0, 1.02),
        )
        if not lines:
            axes.text(0.5, 0.5, f'no {name}', ha='center')
    if negatives:
        panels[1].grid(False)  # It would cross the labels of the inset.
        inset = panels[1].inset_axes((0.1, 0.54, 0.38, 0.38))
        plot_lines(inset, negatives)
        inset.set(xlim=(0.99, 1), ylim=(0, 1.02), title='the hardest 1 %')
        inset.set_xticks([0.99, 0.995, 1])
        inset.grid(alpha=0.3)
    lines, labels = panels[0 if positives else 1].get_legend_handles_labels()
    # Below the panels, so that the title stays centred above them.
    figure.legend(
        lines,
        labels,
        frameon=False,
        loc='outside lower center',
        ncols=min(len(labels), 8),
    )
    return encoded(figure)

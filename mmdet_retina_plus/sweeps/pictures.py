"""Charts as PNG files, by matplotlib."""

import io
from typing import TYPE_CHECKING, Any

from mmdet_retina_plus.common.palette import PALETTE

from .charts import Chart, Curves, Dots, HeatMap, Line, Lines, Spot
from .point_labels import clip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.5
"""Inches."""
ROW = 0.27
"""Inches of a row of dots or of a legend."""
HEAD = 0.6
"""Inches of title and note."""
STYLE: dict[Any, Any] = {
    'font.size': 10,
    # A dollar in a value is no formula.
    'text.parse_math': False,
    'text.color': '#222222',
    'axes.labelcolor': '#222222',
    'axes.edgecolor': '#888888',
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': '#e6e6e6',
    'xtick.color': '#444444',
    'ytick.color': '#444444',
    'legend.frameon': False,
}


def chart_png(chart: Chart) -> bytes:
    """The PNG file of a chart."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1))
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        height = draw_axes(chart, axes)
        axes.set_xlabel(clip(chart.x_label))
        axes.set_ylabel(clip(chart.y_label))
        height += HEAD + add_legend(figure, axes)
        figure.set_figheight(height)
        add_title(chart, figure, height)
        file = io.BytesIO()
        figure.savefig(file, format='png', dpi=130)
    return file.getvalue()


def add_title(chart: Chart, figure: 'Figure', height: float) -> None:
    """Title and note above the axes; `height` of the figure in inches."""
    figure.set_layout_engine('constrained', rect=(0, 0, 1, 1 - HEAD / height))
    figure.text(
        0.01,
        1 - 0.1 / height,
        clip(chart.title, 80),
        va='top',
        size=12,
        weight='bold',
    )
    figure.text(
        0.01, 1 - 0.34 / height, chart.note, va='top', size=9, color='#555555'
    )


def add_legend(figure: 'Figure', axes: 'Axes') -> float:
    """A legend below the axes; returns its height in inches."""
    handles: dict[str, Any] = {}
    for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
        handles.setdefault(text, handle)
    if not handles:
        return 0.0
    fitting = max(1, 95 // (max(map(len, handles)) + 8))
    rows = -(-len(handles) // fitting)
    figure.legend(
        list(handles.values()),
        list(handles),
        loc='outside lower left',
        ncols=-(-len(handles) // rows),
    )
    return ROW * rows


def draw_axes(chart: Chart, axes: 'Axes') -> float:
    """Fill the axes; returns the height in inches that they need."""
    match chart:
        case Lines():
            return draw_lines(chart, axes)
        case Dots():
            return draw_dots(chart, axes)
        case HeatMap():
            return draw_heat_map(chart, axes)
        case Curves():
            return draw_curves(chart, axes)
    raise AssertionError(f'{type(chart).__name__} has no picture')


def draw_lines(chart: Lines, axes: 'Axes') -> float:
    for line in chart.lines:
        draw_line(line, axes)
    if chart.log_x:
        axes.set_xscale('log')
    return 3.6


def draw_line(line: Line, axes: 'Axes') -> None:
    axes.errorbar(
        [spot.position for spot in line.spots],
        [spot.mean for spot in line.spots],
        yerr=[spot.spread for spot in line.spots],
        color=line.color,
        label=line.label,
        marker='o',
        markersize=6,
        linewidth=1.6,
        elinewidth=1.2,
        capsize=3,
    )
    axes.scatter(*scattered(line.spots), s=9, color=line.color, alpha=0.6)


def scattered(spots: list[Spot]) -> tuple[list[float], list[float]]:
    """Positions and values of every seed."""
    return (
        [spot.beside for spot in spots for _ in spot.values],
        [value for spot in spots for value in spot.values],
    )


def draw_dots(chart: Dots, axes: 'Axes') -> float:
    rows = [spot.position for spot in chart.spots]
    axes.errorbar(
        [spot.mean for spot in chart.spots],
        rows,
        xerr=[spot.spread for spot in chart.spots],
        color=PALETTE[0],
        linestyle='none',
        marker='o',
        markersize=6,
        elinewidth=1.2,
        capsize=3,
    )
    positions, values = scattered(chart.spots)
    axes.scatter(values, positions, s=9, color=PALETTE[0], alpha=0.6)
    axes.set_yticks(rows, chart.labels)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    if chart.from_zero:
        axes.set_xlim(left=0)
    return 0.7 + ROW * len(rows)


def draw_heat_map(chart: HeatMap, axes: 'Axes') -> float:
    import numpy as np

    cells = np.array(
        [[np.nan if v is None else v for v in row] for row in chart.cells]
    )
    axes.imshow(cells, cmap='cividis', origin='lower', aspect='auto')
    axes.set_xticks(range(len(chart.x_ticks)), chart.x_ticks)
    axes.set_yticks(range(len(chart.y_ticks)), chart.y_ticks)
    axes.grid(False)
    middle = (np.nanmin(cells) + np.nanmax(cells)) / 2
    longest = max(len(text) for row in chart.texts for text in row)
    size = min(10, 600 / (len(chart.x_ticks) * longest))
    for y, row in enumerate(chart.texts):
        for x, text in enumerate(row):
            color = 'white' if cells[y, x] <= middle else 'black'
            axes.text(
                x, y, text, ha='center', va='center', color=color, size=size
            )
    return 0.8 + 0.42 * len(chart.y_ticks)


def draw_curves(chart: Curves, axes: 'Axes') -> float:
    from matplotlib.ticker import MaxNLocator

    for curve in chart.curves:
        axes.plot(
            curve.steps,
            curve.values,
            color=curve.color,
            label=curve.label,
            linestyle=':' if curve.dotted else '-',
            marker='o',
            markersize=0 if curve.minor else 3,
            linewidth=0.7 if curve.minor else 1.4,
        )
    if chart.whole_x:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return 3.6

"""Sheet with images as rows and strategies as columns."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from mmdet_retina_plus.analysis.loss_pictures import encoded

from .assignment import IGNORED, NEGATIVE, POSITIVE, Assignment
from .soft_maps import SoftMap
from .strategies import Scene

CELL = 3.4
"""Width of an image on the sheet, in inches."""
ACROSS = 6
"""Largest number of images side by side."""
MAP = 1.9
"""Width of a soft map, in inches."""
ROWS = 20
"""Largest number of rows of soft maps."""
COLOURS = {
    4: '#cc79a7',
    8: '#0072b2',
    16: '#009e73',
    32: '#e69f00',
    64: '#d55e00',
    128: '#7b3294',
    256: '#5c4033',
}
"""Okabe and Ito's colors, darkened, by the nearest stride."""
SMALL = 12
"""Area of the smallest dot, in square points."""
GREY, RED = '#555555', '#e00000'


def colour_of(stride: float) -> str:
    return COLOURS[min(COLOURS, key=lambda known: abs(np.log(stride / known)))]


class Cell(NamedTuple):
    """One image on the sheet, with the texts above it and to its left."""

    scene: Scene
    title: str
    label: str


def lines_of(
    rows: Sequence[tuple[str, Sequence[Scene]]], names: Sequence[str]
) -> list[list[Cell]]:
    """Arrange the cells of the sheet in lines.

    With more than `ACROSS` strategies, an image takes several lines. Images of
    a single strategy are side by side.
    """
    if len(names) == 1:
        cells = [Cell(scenes[0], title, '') for title, scenes in rows]
        return in_lines(cells)
    lines = []
    for number, (title, scenes) in enumerate(rows):
        above = names if not number or len(names) > ACROSS else [''] * 99
        cells = [
            Cell(scene, name, title if not place else '')
            for place, (scene, name) in enumerate(
                zip(scenes, above, strict=False)
            )
        ]
        lines += in_lines(cells)
    return lines


def in_lines(cells: list[Cell]) -> list[list[Cell]]:
    """Split cells into lines of nearly equal length, at most `ACROSS`."""
    across = even(len(cells), ACROSS)
    return [
        cells[start : start + across] for start in range(0, len(cells), across)
    ]


def even(number: int, most: int) -> int:
    """Columns, at most `most`, that fill as few rows nearly evenly."""
    return -(-number // -(-number // most))


def draw_sheet(
    rows: Sequence[tuple[str, Sequence[Scene]]], names: Sequence[str]
) -> bytes:
    """Draw a sheet as PNG.

    Args:
        rows: Name of each image, and its scene under each strategy.
        names: Names of the strategies, as titles of the columns.
    """
    lines = lines_of(rows, names)
    across = max(map(len, lines))
    heights = [
        CELL * max(shape_of(cell.scene) for cell in line) + 0.42
        for line in lines
    ]
    figure = Figure(
        figsize=(CELL * across, sum(heights) + 0.8), layout='constrained'
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(
        len(lines),
        across,
        squeeze=False,
        gridspec_kw=dict(height_ratios=heights),
    )
    for places, line in zip(grid, lines, strict=True):
        for axes, cell in zip(places, line, strict=False):
            draw_scene(axes, cell.scene)
            axes.set_title(wrapped(cell.title), fontsize=10)
            axes.set_ylabel(cell.label, fontsize=8, color=GREY)
        for axes in places[len(line) :]:
            axes.set_visible(False)
    handles = legend([scene for _, line in rows for scene in line])
    figure.legend(
        handles=handles,
        loc='outside upper center',
        ncols=even(len(handles), 1 + 2 * across),
        frameon=False,
        fontsize=9,
    )
    return encoded(figure)


def shape_of(scene: Scene) -> float:
    """Height over width of an image."""
    return scene.pixels.shape[0] / scene.pixels.shape[1]


def wrapped(name: str, most: int = 34) -> str:
    """Wrap a name after `_` and `-`."""
    lines = ['']
    for piece in name.replace('_', '_\0').replace('-', '-\0').split('\0'):
        if len(lines[-1]) + len(piece) > most:
            lines.append('')
        lines[-1] += piece
    return '\n'.join(lines)


def legend(scenes: Sequence[Scene]) -> list[Line2D]:
    """Legend handles for the contents of the sheet."""
    strides = sorted({s for scene in scenes for s in scene.assignment.strides})
    colours: dict[str, list[str]] = {}
    for stride in strides:
        colours.setdefault(colour_of(stride), []).append(f'{stride:g}')
    dot: dict[str, Any] = dict(marker='o', linestyle='')
    return [
        *(
            Line2D(
                [],
                [],
                **dot,
                color=colour,
                label='positive: ' * (not number) + f'stride {", ".join(of)}',
            )
            for number, (colour, of) in enumerate(colours.items())
        ),
        Line2D([], [], marker='x', ls='', ms=4, color=GREY, label='ignored'),
        Line2D([], [], marker='.', ls='', ms=4, color='k', label='negative'),
        Line2D([], [], color='k', label='object'),
        Line2D([], [], color=RED, ls='--', label='object without positives'),
    ]


def draw_scene(axes: Any, scene: Scene) -> None:
    """Draw an image with its positives, and ignored or negative priors.

    The rarer of the latter two are drawn, so that sampling and mining show the
    negatives that they keep.
    """
    assignment = scene.assignment
    draw_image(axes, scene.pixels)
    ignored = assignment.states == IGNORED
    negative = assignment.states == NEGATIVE
    if ignored.sum() <= negative.sum():
        draw_dots(axes, assignment, ignored, marker='x', color=GREY)
    else:
        draw_dots(axes, assignment, negative, marker='.', color='k')
    draw_positives(axes, assignment)
    draw_objects(axes, scene)
    counts = [
        f'{(assignment.states == state).sum():,} {name}'
        for state, name in (
            (POSITIVE, 'positive'),
            (IGNORED, 'ignored'),
            (NEGATIVE, 'negative'),
        )
    ]
    axes.set_xlabel(', '.join(counts), fontsize=8)


def draw_image(axes: Any, pixels: np.ndarray) -> None:
    """Draw the image, pale, so that marks stand out."""
    axes.imshow(pixels // 2 + 127)
    height, width = pixels.shape[:2]
    # Priors reach into the padding.
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color('#bbbbbb')


def draw_dots(
    axes: Any, assignment: Assignment, chosen: np.ndarray, **style: Any
) -> None:
    """Draw the locations of priors, each once."""
    places = np.unique(assignment.centres[chosen], axis=0)
    axes.scatter(*places.T, s=5, linewidths=0.5, alpha=0.6, **style)


def draw_positives(axes: Any, assignment: Assignment) -> None:
    """Draw positives in the colours of levels, soft weights as opacity."""
    levels = assignment.levels[assignment.priors]
    opacity = 0.2 + 0.8 * assignment.weights
    # A few positives must stay visible.
    size = np.clip(800 / max(len(levels), 1), SMALL, 40)
    # Outlines of hundreds of anchors must not hide the image.
    faint = np.clip(60 / max(len(levels), 1), 0.08, 0.35)
    for level in np.unique(levels):
        stride = assignment.strides[level]
        chosen = levels == level
        priors, colour = assignment.priors[chosen], colour_of(stride)
        if assignment.boxes is not None:
            axes.add_collection(
                LineCollection(
                    [outline(box) for box in assignment.boxes[priors]],
                    colors=colour,
                    linewidths=0.5,
                    alpha=faint,
                )
            )
        axes.scatter(
            *assignment.centres[priors].T,
            s=size,
            color=colour,
            alpha=opacity[chosen],
            linewidths=0,
            zorder=3,
        )
        if size > SMALL:
            axes.scatter(
                *assignment.centres[priors].T,
                s=size,
                facecolors='none',
                edgecolors=colour,
                linewidths=0.8,
                zorder=3,
            )


def outline(box: np.ndarray) -> np.ndarray:
    """Closed outline of a box, shape (5, 2)."""
    return box[[[0, 1], [2, 1], [2, 3], [0, 3], [0, 1]]]


def draw_objects(axes: Any, scene: Scene, colour: str = 'k') -> None:
    """Draw the boxes of objects, and mark those without positives."""
    counts = scene.assignment.positives_of(len(scene.boxes))
    for (left, top, right, bottom), count in zip(
        scene.boxes, counts, strict=True
    ):
        axes.add_patch(
            Rectangle(
                (left, top),
                right - left,
                bottom - top,
                fill=False,
                zorder=4,
                edgecolor=colour if count else RED,
                linewidth=1 if count else 2,
                linestyle='-' if count else '--',
            )
        )
        if not count:
            axes.text(
                left, top, 'none', color=RED, fontsize=8, va='bottom', zorder=5
            )


def draw_maps(images: Sequence[tuple[str, Scene]]) -> bytes:
    """Draw the soft maps of a strategy as PNG, with levels as columns.

    Args:
        images: Name and scene of each image; the first that take at most
            `ROWS` rows are drawn.
    """
    images = images[: max(1, ROWS // len(images[0][1].maps))]
    lines = [
        (scene, name if not number else '', row)
        for name, scene in images
        for number, row in enumerate(scene.maps)
    ]
    across = max(len(row) for *_, row in lines)
    tallest = max(shape_of(scene) for scene, *_ in lines)
    figure = Figure(
        figsize=(MAP * across + 0.3, len(lines) * (MAP * tallest + 0.2) + 0.6),
        layout='constrained',
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(lines), across, squeeze=False)
    for places, (scene, name, row) in zip(grid, lines, strict=True):
        for axes, soft in zip(places, row, strict=False):
            draw_map(axes, scene, soft)
        places[0].set_ylabel(name, fontsize=8, color=GREY)
        for axes in places[len(row) :]:
            axes.set_visible(False)
    # Above the first row only, so that its height is that of one row.
    figure.colorbar(
        grid[0, 0].images[-1],
        ax=grid[0],
        location='top',
        fraction=0.08,
        shrink=0.8,
    )
    return encoded(figure)


def draw_map(axes: Any, scene: Scene, soft: SoftMap) -> None:
    """Draw a map from 0 to 1 over its image."""
    draw_image(axes, scene.pixels)
    height, width = scene.pixels.shape[:2]
    axes.imshow(
        soft.values,
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        cmap='magma',
        alpha=0.75,
        vmin=0,
        vmax=1,
        interpolation='nearest',
    )
    draw_objects(axes, scene, 'w')
    axes.set_xlabel(soft.title, fontsize=8)

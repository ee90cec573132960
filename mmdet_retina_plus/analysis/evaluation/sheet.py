"""The sheet of the worst images: truth and detections side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from pycocotools import mask as mask_util

from mmdet_retina_plus.analysis.loss_pictures import encoded

from .columns import Columns
from .error_kinds import ERRORS, Kind
from .matching import NONE, Detections
from .truth import Truth

CELL = 4.2
"""Width of an image on the sheet, in inches."""
LARGEST = 1200
"""Longest side of a drawn image in pixels."""
BLANK = 235
"""Grey of an image that cannot be shown."""
FOUND = '#009e73'
COLOURS = {
    Kind.RIGHT: FOUND,
    Kind.CLASS: '#d55e00',
    Kind.LOCALISATION: '#e69f00',
    Kind.BOTH: '#cc79a7',
    Kind.DUPLICATE: '#56b4e9',
    Kind.BACKGROUND: '#7b3294',
    Kind.MISSED: '#e00000',
    Kind.IGNORED: '#777777',
}
"""Of detections by kind, and of objects that are missed."""


class Worst(NamedTuple):
    """An image of the sheet; compared by how bad it is.

    Attributes:
        badness: Of `Collector.add`.
        order: Falls from one image to the next.
        image_id: Of the image.
        path: Its file, None where that is not known.
        found: Detections as they were matched.
    """

    badness: float
    order: int
    image_id: Any
    path: Path | None
    found: Detections


def draw_sheet(
    truth: Truth,
    metric: str,
    columns: Columns,
    worst: Sequence[Worst],
    score: float,
) -> bytes:
    """The JPEG of a sheet, a row for each image.

    Args:
        truth: Objects.
        metric: Whether boxes or masks are drawn.
        columns: Kinds of the detections.
        worst: The images.
        score: Least score of a detection.
    """
    heights = [height_of(truth, item) * CELL + 0.35 for item in worst]
    figure = Figure(
        figsize=(2 * CELL, sum(heights) + 0.9), layout='constrained'
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(
        len(worst), 2, squeeze=False, gridspec_kw=dict(height_ratios=heights)
    )
    for (left, right), item in zip(grid, worst, strict=True):
        size = truth.size(item.image_id)
        pixels = pixels_of(item.path, size)
        for axes in (left, right):
            show(axes, pixels, size)
        name = truth.images[item.image_id]['file_name']
        # A dollar in a name is no formula.
        left.set_title(f'{name}: objects', fontsize=8, parse_math=False)
        right.set_title('detections', fontsize=8)
        draw_truth(left, truth, metric, columns, item, score)
        draw_found(right, truth, columns, item, score)
    figure.legend(
        handles=legend(),
        loc='outside upper center',
        ncols=4,
        frameon=False,
        fontsize=8,
    )
    return encoded(figure, 'jpeg')


def height_of(truth: Truth, item: Worst) -> float:
    """Height over width of an image, not too narrow to draw."""
    height, width = truth.size(item.image_id)
    return float(np.clip(height / width, 0.2, 3))


def legend() -> list[Line2D]:
    lines = [Line2D([], [], color=FOUND, label='right, found')]
    lines += [
        Line2D(
            [],
            [],
            color=COLOURS[kind],
            label=name,
            ls='--' if kind == Kind.MISSED else '-',
        )
        for kind, name in ERRORS.items()
    ]
    ignored = COLOURS[Kind.IGNORED]
    return [*lines, Line2D([], [], color=ignored, ls=':', label='crowd')]


def pixels_of(path: Path | None, size: tuple[int, int]) -> NDArray:
    """RGB of an image of a height and width, grey if it cannot be read."""
    pixels = None
    if path is not None and path.is_file():
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    scale = min(1, LARGEST / max(size))
    height, width = (max(1, round(side * scale)) for side in size)
    if pixels is None:
        return np.full((height, width, 3), BLANK, np.uint8)
    pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return pixels[..., ::-1]


def show(axes: Any, pixels: NDArray, size: tuple[int, int]) -> None:
    """An image over the coordinates of its objects, pale behind lines."""
    height, width = size
    axes.imshow(pixels // 4 * 3 + 63, extent=(0, width, height, 0))
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    axes.spines[:].set_color('#bbbbbb')


def draw_truth(
    axes: Any,
    truth: Truth,
    metric: str,
    columns: Columns,
    item: Worst,
    score: float,
) -> None:
    """Objects; one is found if its detection is on the sheet."""
    objects = truth.of_image(item.image_id, metric)
    (rows,) = np.nonzero(columns.object_images == -item.order)
    for row, shape, crowd in zip(
        rows, objects.shapes, objects.crowd, strict=True
    ):
        finder = columns.finders[row]
        found = finder != NONE and columns.scores[finder] >= score
        kind = Kind.RIGHT if found else Kind.MISSED
        style = '-' if found else '--'
        if crowd:
            kind, style = Kind.IGNORED, ':'
        name = truth.classes[columns.object_labels[row]]
        draw_shape(axes, shape, COLOURS[kind], style, name)


def draw_found(
    axes: Any, truth: Truth, columns: Columns, item: Worst, score: float
) -> None:
    """Detections by kind, the best on top."""
    (rows,) = np.nonzero(columns.images == -item.order)
    drawn = [
        (row, shape)
        for row, shape in zip(rows, item.found.shapes, strict=True)
        if columns.scores[row] >= score
    ]
    for row, shape in reversed(drawn):
        name = truth.classes[columns.labels[row]]
        draw_shape(
            axes,
            shape,
            COLOURS[Kind(columns.kinds[row])],
            '-',
            f'{name} {columns.scores[row]:.2f}',
        )


def draw_shape(
    axes: Any, shape: Any, colour: str, style: str, text: str
) -> None:
    """Outline of a box or a mask with a text."""
    for points in outlines(shape):
        axes.plot(*points.T, color=colour, ls=style, lw=1.2)
    box = mask_util.toBbox(shape) if isinstance(shape, dict) else shape
    axes.text(
        box[0],
        box[1],
        text,
        fontsize=6,
        color='w',
        va='bottom',
        clip_on=True,
        # A dollar in a name is no formula.
        parse_math=False,
        bbox=dict(facecolor=colour, lw=0, pad=0.8, alpha=0.85),
    )


def outlines(shape: Any) -> list[NDArray]:
    """Closed lines around a box x, y, width, height or a mask, (N, 2)."""
    if isinstance(shape, dict):
        parts, _ = cv2.findContours(
            mask_util.decode(shape), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        return [np.concatenate([part, part[:1]])[:, 0] for part in parts]
    x, y, width, height = shape
    corners = [[0, 0], [width, 0], [width, height], [0, height], [0, 0]]
    return [np.add(corners, [x, y])]

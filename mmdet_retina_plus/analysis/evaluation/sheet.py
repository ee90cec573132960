"""Sheet of the worst images: truth and detections side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from pycocotools import mask as mask_util

from mmdet_retina_plus.analysis.loss_pictures import encoded
from mmdet_retina_plus.common.palette import PALETTE

from .collector import badness_of
from .columns import Columns
from .error_kinds import ERRORS, Kind
from .matching import NONE, Detections
from .truth import Truth

CELL = 4.2
"""Width of an image on the sheet, in inches."""
LARGEST = 1200
"""Longest side of a drawn image in pixels."""
LABELLED = 100
"""Labelled boxes per image; more are unreadable and slow to draw."""
TEXT = 0.03
"""Height of a label as a fraction of the image's width."""
BLANK = 235
"""Grey of an image that cannot be shown."""
BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, GREY = PALETTE
COLOURS = {
    Kind.RIGHT: GREEN,
    Kind.CLASS: VERMILION,
    Kind.LOCALISATION: ORANGE,
    Kind.BOTH: PINK,
    Kind.DUPLICATE: SKY,
    Kind.BACKGROUND: BLUE,
    # Red stands out in a photograph; dashes distinguish it from vermilion.
    Kind.MISSED: '#e00000',
    Kind.IGNORED: GREY,
}
"""Colours of detections by kind, and of missed objects."""


class Worst(NamedTuple):
    """An image of the sheet; sorts by badness.

    Attributes:
        badness: See `Collector.add`.
        order: Tie-breaker, which decreases from image to image.
        image_id: Id of the image.
        path: Path of its file, None if unknown.
        found: Detections in the order of matching.
    """

    badness: float
    order: int
    image_id: Any
    path: Path | None
    found: Detections


def shown_badness(
    truth: Truth, metric: str, columns: Columns, item: Worst, score: float
) -> float:
    """Rate an image by the detections that the sheet shows."""
    false = (columns.images == -item.order) & (columns.kinds > Kind.IGNORED)
    finders = columns.finders[columns.object_images == -item.order]
    hits = columns.scores[finders[finders != NONE]]
    crowd = truth.of_image(item.image_id, metric).crowd
    return badness_of((~crowd).sum(), hits, columns.scores[false], score)


class Shape(NamedTuple):
    """A box or mask on the sheet.

    Attributes:
        outline: Box x, y, width, height, or a run-length encoded mask.
        kind: Kind of the object or detection.
        style: Line style.
        text: Label.
    """

    outline: Any
    kind: Kind
    style: str
    text: str


def draw_sheet(
    truth: Truth,
    metric: str,
    columns: Columns,
    worst: Sequence[Worst],
    score: float,
) -> bytes:
    """Draw a sheet with one row per image, as JPEG.

    Args:
        truth: Objects.
        metric: Metric, which decides whether to draw boxes or masks.
        columns: Kinds of the detections.
        worst: The images.
        score: Minimum score of a detection.
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
        objects = truth_shapes(truth, metric, columns, item, score)
        draw_shapes(left, f'{name}: objects', objects)
        found = found_shapes(truth, columns, item, score)
        draw_shapes(right, 'detections', found)
    figure.legend(
        handles=legend(),
        loc='outside upper center',
        ncols=4,
        frameon=False,
        fontsize=8,
    )
    return encoded(figure, 'jpeg')


def height_of(truth: Truth, item: Worst) -> float:
    """Aspect ratio of an image, height over width, limited for drawing."""
    height, width = truth.size(item.image_id)
    return float(np.clip(height / width, 0.2, 3))


def legend() -> list[Line2D]:
    right = COLOURS[Kind.RIGHT]
    lines = [Line2D([], [], color=right, label='right, found')]
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
    """Read an image of a height and width as RGB; grey if that fails.

    It is turned by its EXIF orientation unless that makes it wide where the
    annotations have it tall, or vice versa.
    """
    pixels = None
    if path is not None and path.is_file():
        content = np.fromfile(path, np.uint8)
        for flag in (0, cv2.IMREAD_IGNORE_ORIENTATION):
            pixels = cv2.imdecode(content, cv2.IMREAD_COLOR | flag)
            if pixels is None or is_tall(pixels.shape) == is_tall(size):
                break
    scale = min(1, LARGEST / max(size))
    height, width = (max(1, round(side * scale)) for side in size)
    if pixels is None:
        return np.full((height, width, 3), BLANK, np.uint8)
    pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return pixels[..., ::-1]


def is_tall(shape: Sequence[int]) -> bool:
    return shape[0] > shape[1]


def show(axes: Any, pixels: NDArray, size: tuple[int, int]) -> None:
    """Show an image in the coordinates of its objects, pale behind lines."""
    height, width = size
    axes.imshow(pixels // 4 * 3 + 63, extent=(0, width, height, 0))
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    axes.spines[:].set_color('#bbbbbb')


def truth_shapes(
    truth: Truth, metric: str, columns: Columns, item: Worst, score: float
) -> list[Shape]:
    """Objects, missed ones first.

    An object is found if its detection is on the sheet.
    """
    objects = truth.of_image(item.image_id, metric)
    (rows,) = np.nonzero(columns.object_images == -item.order)
    drawn = []
    for row, outline, crowd in zip(
        rows, objects.shapes, objects.crowd, strict=True
    ):
        finder = columns.finders[row]
        found = finder != NONE and columns.scores[finder] >= score
        kind = Kind.RIGHT if found else Kind.MISSED
        style = '-' if found else '--'
        if crowd:
            kind, style = Kind.IGNORED, ':'
        name = truth.classes[columns.object_labels[row]]
        drawn.append(Shape(outline, kind, style, name))
    return sorted(drawn, key=lambda shape: shape.kind != Kind.MISSED)


def found_shapes(
    truth: Truth, columns: Columns, item: Worst, score: float
) -> list[Shape]:
    """Detections, the best first."""
    (rows,) = np.nonzero(columns.images == -item.order)
    return [
        Shape(
            outline,
            Kind(columns.kinds[row]),
            '-',
            f'{truth.classes[columns.labels[row]]} {columns.scores[row]:.2f}',
        )
        for row, outline in zip(rows, item.found.shapes, strict=True)
        if columns.scores[row] >= score
    ]


def draw_shapes(axes: Any, title: str, shapes: Sequence[Shape]) -> None:
    """Draw outlines, the first on top, and the first `LABELLED` labels."""
    if len(shapes) > LABELLED:
        title = f'{title}, {LABELLED} of {len(shapes):,} labelled'
    # A dollar sign in a name does not start a formula.
    axes.set_title(title, fontsize=8, parse_math=False)
    lines = [
        (points, COLOURS[shape.kind], shape.style)
        for shape in reversed(shapes)
        for points in outlines(shape.outline)
    ]
    if lines:
        segments, colours, styles = map(list, zip(*lines, strict=True))
        axes.add_collection(
            LineCollection(
                segments, colors=colours, linestyles=styles, linewidths=1.2
            ),
            autolim=False,
        )
    width = axes.get_xlim()[1]
    for shape in reversed(shapes[:LABELLED]):
        x, y, *_ = (
            mask_util.toBbox(shape.outline)
            if isinstance(shape.outline, dict)
            else shape.outline
        )
        axes.text(
            x,
            y,
            shape.text,
            fontsize=6,
            color='w',
            # Above the box; inside of it at the image's upper edge.
            va='top' if y < TEXT * width else 'bottom',
            clip_on=True,
            # Clipped to the image, so it takes no space in the layout.
            in_layout=False,
            parse_math=False,
            bbox=dict(
                facecolor=COLOURS[shape.kind], lw=0, pad=0.8, alpha=0.85
            ),
        )


def outlines(shape: Any) -> list[NDArray]:
    """Closed lines (N, 2) around a box x, y, width, height or a mask."""
    if isinstance(shape, dict):
        x, y, width, height = mask_util.toBbox(shape).astype(int).tolist()
        # Search the box only: a large image takes seconds.
        pixels = mask_util.decode(shape)[y : y + height, x : x + width]
        parts, _ = cv2.findContours(
            np.ascontiguousarray(pixels),
            cv2.RETR_EXTERNAL,
            cv2.CHAIN_APPROX_SIMPLE,
            offset=(x, y),
        )
        return [np.concatenate([part, part[:1]])[:, 0] for part in parts]
    x, y, width, height = shape
    corners = [[0, 0], [width, 0], [width, height], [0, height], [0, 0]]
    return [np.add(corners, [x, y])]

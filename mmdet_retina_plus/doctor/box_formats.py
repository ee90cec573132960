"""Find boxes that are not in COCO format, by size, area and masks."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mmdet_retina_plus.common.text import quantity, some

from .box_extent import FRACTIONS, check_extent
from .findings import Finding
from .split import Split

FEW = 0.02
MANY = 10
WHOLE = 0.98
"""Fraction of an image's sides from which a box counts as the whole image."""
MOST_WHOLE = 0.9
"""Fraction of objects that fill their images in a set for classification."""
MOST = 2000
"""Number of objects whose masks are compared."""
SAME = 0.85
"""IoU of a box and the bounds of its mask from which they match."""
APART = 0.5
"""IoU of a box and the bounds of its mask below which they disagree."""
FEW_MIXED = 8
"""Minimum number of such boxes of one other format."""
MAJORITY = 0.8
"""Fraction of the objects that another format must fit."""
BY_MASKS = ', by the masks of the objects'
ROWS_FIRST = '[top, left, height, width]'
LEAST_AREA = 0.05
"""Fraction of a box's area that nearly every mask covers."""
PERCENT, LARGE = 100.5, 200
"""Largest coordinate of percentages, and shortest side of such images."""
EDGE = 1.01
"""Largest edge of fractions, with rounding errors."""
TINY = 0.01
"""Fraction of a box's area below which `area` cannot be right."""


def edges(*columns: np.ndarray) -> np.ndarray:
    return np.column_stack(columns)


COLUMNS_FIRST = (
    'write polygons as x1, y1, x2, y2, … (find_contours of skimage returns '
    'row, column)'
)
BY_COLUMNS = 'encode np.asfortranarray(mask): run lengths follow columns'
Reading = Callable[..., np.ndarray]
FORMATS: dict[str, tuple[Reading, str]] = {
    '[left, top, right, bottom]': (
        lambda a, b, c, d: edges(a, b, c, d),
        '[x1, y1, x2 - x1, y2 - y1]',
    ),
    '[centre x, centre y, width, height]': (
        lambda x, y, w, h: edges(x - w / 2, y - h / 2, x + w / 2, y + h / 2),
        '[x - width / 2, y - height / 2, width, height]',
    ),
    ROWS_FIRST: (
        lambda y, x, h, w: edges(x, y, x + w, y + h),
        '[left, top, width, height]',
    ),
    '[top, left, bottom, right]': (
        lambda y1, x1, y2, x2: edges(x1, y1, x2, y2),
        '[x1, y1, x2 - x1, y2 - y1]',
    ),
    '[left, top, height, width]': (
        lambda x, y, h, w: edges(x, y, x + w, y + h),
        '[left, top, width, height]',
    ),
}
"""Other formats: how to read the four numbers as edges, and the fix."""


def iou_of_pairs(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of boxes (N, 4) with others, row by row."""
    corner = (
        np.minimum(boxes, others)[:, 2:] - np.maximum(boxes, others)[:, :2]
    )
    common = corner.clip(min=0).prod(axis=1)
    areas = [
        (x[:, 2:] - x[:, :2]).clip(min=0).prod(axis=1) for x in (boxes, others)
    ]
    return common / np.maximum(areas[0] + areas[1] - common, 1e-9)


def bounds_of(polygons: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Left, top, right, bottom of all polygon corners."""
    corners = [float(x) for polygon in polygons for x in polygon]
    x, y = corners[0::2], corners[1::2]
    return min(x), min(y), max(x), max(y)


def unlikely(boxes: np.ndarray, sizes: np.ndarray, areas: np.ndarray) -> float:
    """Fraction of boxes outside their images plus fraction of wrong areas.

    Args:
        boxes: Left, top, right, bottom, (N, 4).
        sizes: Widths and heights of their images, (N, 2).
        areas: `area` of the annotations, (N,).
    """
    extent = (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1)
    leaves = (boxes[:, 2:] > sizes + 1).any(axis=1) | (boxes < -1).any(axis=1)
    fits = (areas < 1.1 * extent) & (areas > LEAST_AREA * extent)
    return float(leaves.mean() + (~fits).mean())


def boxes_and_bounds(split: Split) -> tuple[np.ndarray, ...]:
    """Collect boxes and mask bounds of objects with masks.

    Returns:
        The four numbers of `bbox` and the bounds of masks, both (N, 4),
        sizes of the images, (N, 2), areas, (N,), whether each mask is run
        lengths, (N,), and ids of the annotations, (N,).
    """
    from .segmentations import bounds_of_mask, has_pixels, is_readable

    masks = split.column('segmentation')
    there = ~np.isnan(split.boxes).any(axis=1) & ~split.crowd
    places = np.flatnonzero(there)
    chosen, bounds, runs = [], [], []
    for at in places[:: len(places) // MOST + 1]:
        mask = masks[at]
        is_runs = isinstance(mask, Mapping)
        if not (mask and is_readable(mask) and has_pixels(mask)):
            continue
        # Skip masks of another image size.
        if is_runs and tuple(mask['size'][::-1]) != tuple(split.sizes[at]):
            continue
        try:
            bounds.append(bounds_of_mask(mask))
        except Exception:  # Another check reports invalid run lengths.
            continue
        chosen.append(at)
        runs.append(is_runs)
    boxes = split.boxes[chosen]
    boxes = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
    return (
        boxes,
        np.array(bounds, float).reshape(-1, 4),
        split.sizes[chosen],
        split.areas[chosen],
        np.array(runs, bool),
        split.ids[chosen],
    )


def format_of_some(
    boxes: np.ndarray, bounds: np.ndarray, number: int, ids: np.ndarray
) -> tuple[str, str]:
    """Message and fix if boxes that contradict their masks fit one format.

    Transposed masks would fit the same as transposed boxes.

    Args:
        boxes: The four numbers of such boxes, (N, 4).
        bounds: Bounds of their masks, (N, 4).
        number: Number of all boxes with masks.
        ids: Ids of these annotations, (N,).
    """
    if len(boxes) < max(FEW_MIXED, FEW * number):
        return '', ''
    for name, (read, right) in FORMATS.items():
        ious = iou_of_pairs(read(*boxes.T), bounds)
        if name != ROWS_FIRST and (ious > SAME).mean() > MAJORITY:
            what = f'bbox of {len(boxes)} of {quantity(number, "object")}'
            return (
                f'{what} is {name}{BY_MASKS}: ids {some(ids.tolist())}',
                f'write "bbox": {right} there',
            )
    return '', ''


def other_format(split: Split) -> tuple[str, str]:
    """Message and fix if masks contradict `bbox`; '' if they do not.

    If boxes and masks are transposes of each other and both stay inside the
    image, as in square images, either may be wrong.
    """
    boxes, bounds, sizes, areas, runs, ids = boxes_and_bounds(split)
    if not len(boxes):
        return '', ''
    left, top, width, height = boxes.T
    as_said = edges(left, top, left + width, top + height)
    own = iou_of_pairs(as_said, bounds)
    if (own > SAME).mean() > 1 - MAJORITY:
        off = own < APART
        return format_of_some(boxes[off], bounds[off], len(own), ids[off])
    if unlikely(bounds, sizes, areas) > unlikely(as_said, sizes, areas):
        return '', ''  # The masks are wrong, not the boxes.
    for name, (read, right) in FORMATS.items():
        ious = iou_of_pairs(read(left, top, width, height), bounds)
        if (ious > SAME).mean() <= MAJORITY:
            continue
        fix = f'write "bbox": {right}'
        tie = unlikely(bounds, sizes, areas) == unlikely(as_said, sizes, areas)
        if name == ROWS_FIRST and tie and runs.mean() > 1 - MAJORITY:
            return (
                f'either bbox is {ROWS_FIRST}, or run lengths follow rows: '
                'masks are the transpose of the boxes',
                f'if --show shows boxes on their objects, {BY_COLUMNS}; '
                f'if not, {fix}',
            )
        if name == ROWS_FIRST and tie:
            return (
                'either bbox or the polygons are rows first (x and y '
                'exchanged): one is the transpose of the other',
                f'if --show shows boxes on their objects, {COLUMNS_FIRST}; '
                f'if not, {fix}',
            )
        return f'bbox is {name}{BY_MASKS}', fix
    across, down = (sizes - (as_said[:, :2] + as_said[:, 2:])).T
    for axis, moved in (
        ('y from the bottom', (0, down)),
        ('x from the right', (across, 0)),
    ):
        mirrored = as_said + np.stack(np.broadcast_arrays(*moved * 2), -1)
        if (iou_of_pairs(mirrored, bounds) > SAME).mean() > MAJORITY:
            right = axis.replace('y from the bottom', 'height - y - h')
            right = right.replace('x from the right', 'width - x - w')
            fix = f'write {right} of the image in place of {axis[0]}'
            return f'bbox counts {axis}{BY_MASKS}', fix
    with np.errstate(divide='ignore', invalid='ignore'):
        factors = np.median((bounds / as_said)[:, 2:], axis=0)
    if not np.isfinite(factors).all() or (factors <= 0).any():
        return '', ''
    ious = iou_of_pairs(as_said * np.tile(factors, 2), bounds)
    if (ious > SAME).mean() <= MAJORITY:
        return '', ''
    by = ' and '.join(f'{x:.3g}' for x in factors)
    return (
        f'bbox belongs to an image of another size{BY_MASKS}',
        f'multiply left and width of bbox, and top and height, by {by}',
    )


def check_box_format(split: Split) -> list[Finding]:
    fractions = check_fractions(split)
    if fractions:
        return fractions
    whole = split.boxes[~np.isnan(split.boxes).any(axis=1)]
    sides = split.image_sizes.min(axis=1) if len(split.images) else np.zeros(1)
    if len(whole) >= MANY and whole.max() <= PERCENT and sides.min() >= LARGE:
        return split.warn(
            'all boxes lie within the first 100 pixels of larger images: '
            'they may be percentages',
            'multiply left and width of bbox by width / 100 of the image, top '
            'and height by height / 100',
        )
    message, fix = other_format(split)
    if message:
        return split.fail(message, fix)
    if not split.usable.any():
        return []
    return (
        check_whole_images(split) or check_extent(split) or check_areas(split)
    )


def check_fractions(split: Split) -> list[Finding]:
    """Report boxes in fractions of the image, all or some."""
    known = ~np.isnan(split.boxes).any(axis=1)
    extent = split.boxes[:, 2:] - split.boxes[:, :2]
    numbers = np.hstack([split.boxes[:, :2], extent])
    inner = known & (numbers <= FRACTIONS).all(axis=1)
    inner &= (extent > 0).all(axis=1)
    least = 1.0
    if not inner[known].all():
        # Whole numbers, and boxes that touch the corner of an image, are
        # stray clicks there.
        inner &= (numbers % 1 > 0).any(axis=1)
        inner &= (numbers[:, :2] > 0).any(axis=1)
        least = max(FEW_MIXED, FEW * known.sum())
    if inner.sum() < least:
        return []
    begins, sides = split.boxes[inner, :2], extent[inner]
    formula = '[x * width, y * height, w * width, h * height]'
    what = 'fractions of the image'
    if (begins + sides > EDGE).any():
        if (sides > begins).all():
            what = f'the corners [x1, y1, x2, y2] in {what}'
            formula = (
                '[x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * '
                'height]'
            )
        elif (begins + sides / 2 <= EDGE).all():
            what = f'centre, width and height in {what}'
            formula = (
                '[(x - w / 2) * width, (y - h / 2) * height, w * width, h * '
                'height]'
            )
    boxes, ids = 'all boxes', ''
    if not inner[known].all():
        boxes = f'{inner.sum():,} of {quantity(int(known.sum()), "box")}'
        ids = f': ids {some(split.ids[inner].tolist())}'
    return split.fail(
        f'{boxes} have numbers of up to 1: they are {what}{ids}',
        f'"bbox": {formula}, by width and height of the image',
    )


def check_whole_images(split: Split) -> list[Finding]:
    """Report images of several objects whose boxes are the whole image."""
    used = np.flatnonzero(split.usable)
    extent = split.boxes[used, 2:] - split.boxes[used, :2]
    whole = (extent > WHOLE * split.sizes[used]).all(axis=1)
    several = np.bincount(split.image_of[used])[split.image_of[used]] > 1
    found = whole & several
    if found.sum() > len(used) / 2:
        return split.fail(
            f'bbox of {quantity(int(found.sum()), "object")} is the whole '
            'image, though the image has several objects',
            'write the box of each object into bbox: [left, top, width, '
            'height]',
        )
    if whole.sum() > MOST_WHOLE * len(used) and len(used) >= MANY:
        return split.warn(
            f'bbox of {whole.sum():,} of {quantity(len(used), "object")} is '
            'the whole image, as in a classification data set: the detector '
            'learns no location',
            'write the box of each object into bbox: [left, top, width, '
            'height]',
        )
    labels = split.label_of[used]
    for label in np.unique(labels[found]):
        own = labels == label
        # A single such class seems to stand for the background.
        if found[own].sum() >= MANY and whole[own].all():
            name = split.classes[label]
            return split.warn(
                f'all {own.sum()} boxes of {name} are the whole image, next '
                'to other objects: mmdet needs no background class',
                f'delete {name} and its boxes from the annotation file, and '
                'from classes',
            )
    return []


def check_areas(split: Split) -> list[Finding]:
    """Report `area` that contradicts `bbox`."""
    areas = split.areas[split.usable]
    left, top, right, bottom = split.boxes[split.usable].T
    # As if width and height were the right and bottom edges.
    corners = (right - 2 * left) * (bottom - 2 * top)
    extent = (right - left) * (bottom - top)
    other = ~np.isclose(areas, extent, rtol=0.01)
    fits = np.isclose(areas, corners, rtol=0.01) & other
    if other.any() and fits.sum() > other.sum() / 2:
        return split.fail(
            f'area of {quantity(int(fits.sum()), "object")} fits bbox read as '
            '[left, top, right, bottom]',
            'write bbox as [left, top, width, height]: "bbox": '
            '[x1, y1, x2 - x1, y2 - y1]',
        )
    for wrong, than in (
        (areas > 1.1 * extent, 'larger than the box'),
        (areas < TINY * extent, f'less than {TINY:.0%} of the box'),
    ):
        if wrong.mean() > FEW:
            return split.warn(
                f'area is {than} for {quantity(int(wrong.sum()), "object")}: '
                'AP by size is wrong',
                'write area in pixels: width * height of bbox, or the pixels '
                'of the mask',
            )
    return []

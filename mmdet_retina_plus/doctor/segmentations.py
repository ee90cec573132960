"""Check segmentations of annotation files that are loaded or scored."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmdet_retina_plus.common.coco_columns import NOT_FOUND
from mmdet_retina_plus.common.numbers import is_finite
from mmdet_retina_plus.common.run_lengths import compressed, cut_off
from mmdet_retina_plus.common.text import clause, quantity, some

from .box_extent import FRACTIONS
from .box_formats import (
    APART,
    BY_COLUMNS,
    COLUMNS_FIRST,
    FEW_MIXED,
    MAJORITY,
    SAME,
    bounds_of,
    iou_of_pairs,
    other_format,
)
from .findings import Finding, any_error
from .mask_shapes import (
    CORNERS,
    LOOKED_AT,
    check_holes,
    check_merged,
    check_rectangles,
    polygon_area,
)
from .split import Split

FAR = 0.3
"""The same, below which the set is wrong: even boxes that include hidden
parts overlap the masks of the visible parts by more."""
BETTER = 0.1
"""IoU by which a mask must fit another box better than its own."""
THIN = 1.0
"""Area in pixels below which polygons may cover no pixel."""


def are_finite(numbers: list) -> bool:
    """Whether all are finite numbers; tests the sum first, for speed."""
    if {*map(type, numbers)} <= {int, float} and is_finite(sum(numbers)):
        return True
    return all(map(is_finite, numbers))


def is_readable(mask: object) -> bool:
    """Whether a mask is lists of numbers, or run lengths with their size."""
    if isinstance(mask, Mapping):
        size, counts = mask.get('size'), mask.get('counts')
        return (
            isinstance(size, list)
            and len(size) == 2
            and all(map(is_finite, size))
            and (
                isinstance(counts, str)
                or (isinstance(counts, list) and all(map(is_finite, counts)))
            )
        )
    return isinstance(mask, list) and all(
        isinstance(polygon, list) and are_finite(polygon) for polygon in mask
    )


def has_pixels(mask: object) -> bool:
    """Whether a mask has pixels to train on; True if it is unreadable."""
    if isinstance(mask, list) and mask:
        return any(
            not isinstance(polygon, list)
            or (len(polygon) >= 2 * CORNERS and len(polygon) % 2 == 0)
            for polygon in mask
        ) or not is_readable(mask)
    if not isinstance(mask, Mapping) or not is_readable(mask):
        return True
    from pycocotools.mask import area

    counts = mask['counts']
    if isinstance(counts, list):
        return sum(counts[1::2]) > 0
    try:
        return bool(area(mask) > 0)
    except Exception:  # Another check reports invalid run lengths.
        return True


def are_pairs(mask: object) -> bool:
    """Whether polygons are lists of points, each [x, y]."""
    return isinstance(mask, list) and all(
        isinstance(polygon, list)
        and all(isinstance(x, list) and len(x) == 2 for x in polygon)
        for polygon in mask
    )


def is_contour(mask: object) -> bool:
    """Whether a mask is one list of points, each [x, y]."""
    return (
        isinstance(mask, list)
        and len(mask) >= CORNERS
        and all(isinstance(x, list) and len(x) == 2 for x in mask)
        and is_readable(mask)
    )


def check_segmentations(split: Split) -> list[Finding]:
    """Report masks at which loading or scoring stops, or that are wrong."""
    scored = 'segm' in split.metrics
    loads = split.loads_masks
    if not (loads or scored):
        return []
    masks = split.column('segmentation')
    ids = split.ids
    readable = [bool(x) and is_readable(x) for x in masks]
    findings = []
    bare = [ids[at] for at, mask in enumerate(masks) if not mask]
    if bare:
        stops = 'scoring masks' if scored else 'loading their images'
        findings += split.fail(
            f'{clause(len(bare), "annotation", "have")} no segmentation, '
            f'{stops} stops with a KeyError: ids {some(bare)}',
            'add segmentation (polygons or run lengths), delete them, or '
            'train boxes only: model.roi_head=None, no with_mask=True, and '
            "metric='bbox' in both evaluators",
        )
    lost_at = [
        at for at, mask in enumerate(masks) if mask and not readable[at]
    ]
    broken = [ids[at] for at in lost_at]
    if broken and all(map(are_pairs, map(masks.__getitem__, lost_at))):
        findings += split.fail(
            f'{clause(len(broken), "annotation", "have")} polygons of [x, y] '
            f'pairs, not of numbers: ids {some(broken)}',
            'write [[x1, y1, x2, y2, …], …]: [c for point in polygon '
            'for c in point]',
        )
    elif broken:
        findings += split.fail(
            f'{clause(len(broken), "annotation", "have")} a segmentation that '
            f'is neither polygons nor run lengths: ids {some(broken)}',
            'write [[x1, y1, x2, y2, …], …] or '
            '{"size": [height, width], "counts": …}',
        )
    contours = [at for at, mask in enumerate(masks) if is_contour(mask)]
    if contours:
        findings += split.fail(
            f'{clause(len(contours), "annotation", "have")} a list of '
            '[x, y] points, not polygons: mmdet ignores these objects, and '
            f'scoring segm stops: ids {some(ids[contours].tolist())}',
            'write [[x1, y1, x2, y2, …], …]: [[c for point in segmentation '
            'for c in point]]',
        )
        for at in contours:
            readable[at] = False
    whole = [mask if readable[at] else None for at, mask in enumerate(masks)]
    cut = cut_off(whole)
    if cut:
        findings += cut_masks(split, masks, cut)
        for at in cut:
            readable[at] = False
    thin = [
        ids[at]
        for at, mask in enumerate(masks)
        if readable[at]
        and isinstance(mask, list)
        and any(len(x) < 2 * CORNERS or len(x) % 2 for x in mask)
    ]
    if thin and scored:
        findings += split.fail(
            f'{clause(len(thin), "annotation", "have")} a polygon of fewer '
            f'than {CORNERS} corners, at which scoring segm stops: ids '
            f'{some(thin)}',
            "delete these polygons, or set metric='bbox' in the evaluator",
        )
    runs = [
        at
        for at, mask in enumerate(masks)
        if readable[at] and isinstance(mask, Mapping)
    ]
    if any(step.get('poly2mask', True) is False for step in loads):
        # Crowds are ignored in any case.
        lost = ids[[at for at in runs if not split.crowd[at]]].tolist()
        if lost:
            findings += split.fail(
                f'{clause(len(lost), "object", "have")} run-length masks, '
                f'which poly2mask=False makes mmdet ignore: ids {some(lost)}',
                'leave poly2mask out of LoadAnnotations',
            )
    misfits = [
        ids[at]
        for at in runs
        # Another check reports annotations of unknown images.
        if split.image_of[at] != NOT_FOUND
        and tuple(masks[at]['size'][::-1]) != tuple(split.sizes[at])
    ]
    if not misfits:
        places = check_places(split, masks, readable)
        findings += places
        # Polygons in fractions of the image also have no pixel.
        if loads and not any_error(places):
            findings += check_blank(split, masks, readable)
            findings += check_rectangles(split, masks, readable)
            findings += check_merged(split, masks, readable)
            findings += check_holes(split, masks, readable)
    if misfits:
        findings += split.fail(
            f'{clause(len(misfits), "run-length mask", "have")} another size '
            f'than the image: ids {some(misfits)}',
            'write size as [height, width] of the image',
        )
    return findings


def cut_masks(
    split: Split, masks: Sequence, cut: Sequence[int]
) -> list[Finding]:
    """Report run lengths whose sum is not the number of pixels."""
    fix = (
        'write the run lengths again: dict(size=mask.shape, counts='
        'pycocotools.mask.encode(np.asfortranarray(mask))["counts"].decode())'
    )
    counts = [masks[at]['counts'] for at in cut]
    what = 'that do not add up to height x width'
    if all(isinstance(x, str) and x[:2] in ("b'", 'b"') for x in counts):
        what += f', str() of bytes: {counts[0][:12]}…'
        fix = 'write counts.decode() in place of str(counts)'
    return split.fail(
        f'{clause(len(cut), "annotation", "have")} run lengths {what}, at '
        f'which scoring hangs: ids {some(split.ids[cut].tolist())}',
        fix,
    )


def factor_text(factor: float) -> str:
    """Format a factor, snapped to a quarter: corners are rounded."""
    near = round(4 * factor) / 4
    return f'{near if abs(factor - near) < 0.02 * factor else factor:.3g}'


def bounds_of_mask(mask: Any) -> tuple[float, ...]:
    """Left, top, right, bottom of readable polygons or run lengths."""
    if isinstance(mask, list):
        return bounds_of(mask)
    from pycocotools.mask import toBbox

    left, top, width, height = toBbox(compressed(mask, *mask['size']))
    return left, top, left + width, top + height


def is_blank(mask: Any, height: float, width: float) -> bool:
    """Whether an object trains with a mask that has no pixel.

    Args:
        mask: Readable polygons or run lengths.
        height: Height of the image.
        width: Width of the image.
    """
    if not has_pixels(mask):
        # Polygons of fewer than three corners: the object does not train.
        return isinstance(mask, Mapping)
    if isinstance(mask, Mapping):
        return False
    polygons = [x for x in mask if len(x) >= 2 * CORNERS and len(x) % 2 == 0]
    if sum(map(polygon_area, polygons)) >= THIN:
        return False
    from pycocotools.mask import area

    return bool(area(compressed(polygons, int(height), int(width))) == 0)


def check_blank(
    split: Split, masks: Sequence, readable: Sequence[bool]
) -> list[Finding]:
    """Report masks without a pixel, which train an empty mask."""
    step = len(masks) // LOOKED_AT + 1
    blank = []
    for at in range(0, len(masks), step):
        if readable[at] and split.usable[at]:
            width, height = split.sizes[at]
            try:
                found = is_blank(masks[at], height, width)
            except Exception:  # Another check reports invalid run lengths.
                continue
            if found:
                blank.append(split.ids[at])
    if not blank:
        return []
    looked_at = split.usable[::step].sum()
    tell = split.fail if 2 * len(blank) > looked_at else split.warn
    return tell(
        f'{clause(len(blank), "mask", "have")} no pixel, so their boxes train '
        f'with an empty mask: ids {some(blank)}',
        'write polygons around the objects, or delete these annotations',
    )


def check_places(
    split: Split, masks: Sequence, readable: Sequence[bool]
) -> list[Finding]:
    """Report masks that do not lie in their boxes."""
    if other_format(split)[0]:  # Boxes are wrong, not masks.
        return []
    step = len(masks) // LOOKED_AT + 1
    places, listed = [], []
    for at in range(0, len(masks), step):
        if readable[at] and not split.crowd[at] and has_pixels(masks[at]):
            try:
                listed.append(bounds_of_mask(masks[at]))
            except Exception:  # Another check reports invalid run lengths.
                continue
            places.append(at)
    if not places:
        return []
    bounds, boxes = np.array(listed), split.boxes[places]
    own = iou_of_pairs(boxes, bounds)
    exchanged = exchanged_masks(boxes, bounds, split.image_of[places], own)
    if len(exchanged):
        ids = split.ids[np.array(places)[exchanged]].tolist()
        return split.fail(
            f'{clause(len(ids), "mask", "fit")} the box of another object of '
            f'the image, not their own: ids {some(ids)}',
            'exchange the segmentations of these annotations, or write the '
            'masks again with the ids of their objects',
        )
    apart = [at for at, iou in zip(places, own, strict=True) if iou < APART]
    if not apart:
        return []
    most = 2 * (own < FAR).sum() > len(places)
    if most:
        transposed = iou_of_pairs(boxes, bounds[:, [1, 0, 3, 2]])
        if (transposed > SAME).mean() > MAJORITY:
            return split.fail(
                'polygons are rows first, y1, x1, y2, x2, …, by their boxes',
                COLUMNS_FIRST,
            )
    part = own < APART
    turned = iou_of_pairs(boxes[part], bounds[part][:, [1, 0, 3, 2]]) > SAME
    if len(apart) >= FEW_MIXED and turned.mean() > MAJORITY:
        what = 'masks' if isinstance(masks[apart[0]], Mapping) else 'polygons'
        return split.fail(
            f'{what} of {len(apart)} of {quantity(len(places), "object")} are '
            f'rows first, by their boxes: ids '
            f'{some(split.ids[apart].tolist())}',
            BY_COLUMNS if what == 'masks' else COLUMNS_FIRST,
        )
    if bounds.max() <= FRACTIONS:
        return split.fail(
            'polygons are fractions of the image, their boxes are in pixels',
            'multiply x of polygons by width of the image, and y by height',
        )
    if most:
        with np.errstate(divide='ignore', invalid='ignore'):
            ratios = bounds / boxes
        factors = np.nanmedian(ratios[:, 2:], axis=0)
        if np.isfinite(factors).all() and (factors > 0).all():
            ious = iou_of_pairs(boxes * np.tile(factors, 2), bounds)
            if (ious > SAME).mean() > MAJORITY:
                by = ' and '.join(map(factor_text, factors))
                return split.fail(
                    f'masks are {by} times their boxes in width and height, '
                    'as in images of another size',
                    f'divide x and y of polygons by {by}',
                )
    message = (
        f'masks of {len(apart)} of {quantity(len(places), "object")} '
        'do not lie in their boxes: ids '
        f'{some(split.ids[apart].tolist())}'
    )
    fix = 'write polygons as x1, y1, x2, y2, … in pixels, each to its object'
    if all(isinstance(masks[at], Mapping) for at in apart):
        fix = (
            'encode masks column by column: pycocotools.mask.encode('
            'np.asfortranarray(mask)), each to its object'
        )
    if most:
        return split.fail(message, fix)
    return split.warn(message, fix)


def exchanged_masks(
    boxes: np.ndarray, bounds: np.ndarray, images: np.ndarray, own: np.ndarray
) -> list[int]:
    """Positions of masks that fit the box of another object, not their own.

    Args:
        boxes: Boxes of the objects, (N, 4).
        bounds: Bounds of their masks, (N, 4).
        images: Position of each object's image, (N,).
        own: IoU of each box and the bounds of its mask, (N,).
    """
    found = []
    for at in np.flatnonzero(own < SAME):
        others = np.flatnonzero(images == images[at])
        ious = iou_of_pairs(boxes[others], bounds[[at] * len(others)])
        if ious.max() > max(SAME, own[at] + BETTER):
            found.append(int(at))
    return found

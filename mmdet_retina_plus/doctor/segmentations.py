"""Segmentations in annotation files, where they are loaded or scored."""

from collections.abc import Mapping, Sequence

import numpy as np

from mmdet_retina_plus.common.numbers import is_finite
from mmdet_retina_plus.common.text import quantity, some

from .findings import Finding
from .split import Split

LOOKED_AT = 20_000
"""Objects whose polygons are compared with their boxes, at most."""
APART = 0.3
"""IoU of a box and the bounds of its polygons below which they are apart."""
CORNERS = 3
"""Fewest corners of a polygon; mmdet leaves out those with less."""


def are_finite(numbers: list) -> bool:
    """Whether all are finite numbers; a sum tells that of many at once."""
    if {*map(type, numbers)} <= {int, float} and is_finite(sum(numbers)):
        return True
    return all(map(is_finite, numbers))


def is_readable(mask: object) -> bool:
    """Whether it is lists of numbers, or run lengths with their size."""
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
    """Whether a mask leaves an object to train on; True if unreadable."""
    if isinstance(mask, list) and mask:
        return any(
            not isinstance(polygon, list)
            or (len(polygon) >= 2 * CORNERS and len(polygon) % 2 == 0)
            for polygon in mask
        )
    if not isinstance(mask, Mapping) or not is_readable(mask):
        return True
    from pycocotools.mask import area

    counts = mask['counts']
    if isinstance(counts, list):
        return sum(counts[1::2]) > 0
    try:
        return bool(area(mask) > 0)
    except Exception:  # Another check names what is no run length.
        return True


def check_segmentations(split: Split) -> list[Finding]:
    """What mmdet stops at, and what scoring stops at."""
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
            f'{quantity(len(bare), "annotation")} have no segmentation, '
            f'{stops} stops with a KeyError: ids {some(bare)}',
            'add segmentation (polygons or run lengths), delete them, or '
            'train boxes only: model.roi_head=None, no with_mask=True, and '
            "metric='bbox' of both evaluators",
        )
    broken = [
        ids[at] for at, mask in enumerate(masks) if mask and not readable[at]
    ]
    if broken:
        findings += split.fail(
            f'{quantity(len(broken), "annotation")} have a segmentation that '
            f'is neither polygons nor run lengths: ids {some(broken)}',
            'write [[x1, y1, x2, y2, …], …] or '
            '{"size": [height, width], "counts": …}',
        )
    thin = [
        ids[at]
        for at, mask in enumerate(masks)
        if readable[at]
        and isinstance(mask, list)
        and any(len(x) < 2 * CORNERS or len(x) % 2 for x in mask)
    ]
    if thin and scored:
        findings += split.fail(
            f'{quantity(len(thin), "annotation")} have a polygon of less '
            f'than {CORNERS} corners, at which scoring segm stops: ids '
            f'{some(thin)}',
            "delete these polygons, or metric='bbox' of the evaluator",
        )
    runs = [
        at
        for at, mask in enumerate(masks)
        if readable[at] and isinstance(mask, Mapping)
    ]
    if any(step.get('poly2mask', True) is False for step in loads):
        # Those of crowds are ignored in any case.
        lost = ids[[at for at in runs if not split.crowd[at]]].tolist()
        if lost:
            findings += split.fail(
                f'{quantity(len(lost), "object")} have run-length masks, '
                f'which poly2mask=False makes mmdet ignore: ids {some(lost)}',
                'leave poly2mask out of LoadAnnotations',
            )
    findings += check_places(split, masks, readable)
    misfits = [
        ids[at]
        for at in runs
        if tuple(masks[at]['size'][::-1]) != tuple(split.sizes[at])
    ]
    if misfits:
        findings += split.fail(
            f'{quantity(len(misfits), "run-length mask")} have not the size '
            f'of their image: ids {some(misfits)}',
            'write size as [height, width] of the image',
        )
    return findings


def bounds_of(polygons: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """x1, y1, x2, y2 of all corners."""
    corners = [float(x) for polygon in polygons for x in polygon]
    x, y = corners[0::2], corners[1::2]
    return min(x), min(y), max(x), max(y)


def check_places(
    split: Split, masks: Sequence, readable: Sequence[bool]
) -> list[Finding]:
    """Polygons that lie elsewhere than their boxes."""
    step = len(masks) // LOOKED_AT + 1
    places = [
        at
        for at in range(0, len(masks), step)
        if readable[at]
        and isinstance(masks[at], list)
        and has_pixels(masks[at])
    ]
    if not places:
        return []
    bounds = np.array([bounds_of(masks[at]) for at in places])
    boxes = split.boxes[places]
    sides = np.minimum(bounds, boxes)[:, 2:] - np.maximum(bounds, boxes)[:, :2]
    common = sides.clip(min=0).prod(axis=1)
    areas = [
        (x[:, 2:] - x[:, :2]).clip(min=0).prod(axis=1) for x in (bounds, boxes)
    ]
    union = np.maximum(areas[0] + areas[1] - common, 1e-9)
    apart = [
        at
        for at, iou in zip(places, common / union, strict=True)
        if iou < APART
    ]
    if not apart:
        return []
    message = (
        f'polygons of {len(apart)} of {quantity(len(places), "object")} lie '
        f'elsewhere than their boxes: ids {some(split.ids[apart].tolist())}'
    )
    fix = 'write polygons as x1, y1, x2, y2, … in pixels, each to its object'
    if 2 * len(apart) > len(places):
        return split.fail(message, fix)
    return [Finding('warning', split.subject, message, fix)]

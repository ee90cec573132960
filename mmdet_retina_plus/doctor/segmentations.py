"""Segmentations in annotation files, where they are loaded or scored."""

from collections.abc import Mapping

from mmdet_retina_plus.common.numbers import is_finite
from mmdet_retina_plus.common.text import quantity, some

from .findings import Finding
from .split import Split

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

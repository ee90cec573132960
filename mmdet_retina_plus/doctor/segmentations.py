"""Segmentations in annotation files, where a pipeline loads masks."""

from collections.abc import Mapping

from mmdet_retina_plus.common.config_tree import kind, walk
from mmdet_retina_plus.common.numbers import is_finite
from mmdet_retina_plus.common.text import some

from .findings import Finding
from .split import Split

CORNERS = 3
"""Fewest corners of a polygon; mmdet leaves out those with less."""


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
        isinstance(polygon, list) and all(map(is_finite, polygon))
        for polygon in mask
    )


def has_pixels(mask: Mapping | list) -> bool:
    """Whether a readable mask leaves an object to train on."""
    from pycocotools.mask import area

    if isinstance(mask, Mapping):
        counts = mask['counts']
        return (
            sum(counts[1::2]) > 0
            if isinstance(counts, list)
            else area(mask) > 0
        )
    return any(
        len(polygon) >= 2 * CORNERS and len(polygon) % 2 == 0
        for polygon in mask
    )


def check_segmentations(split: Split) -> list[Finding]:
    """What mmdet stops at, and what it leaves out in silence."""
    loads = [
        step
        for step in walk(split.pipeline)
        if kind(step) == 'LoadAnnotations' and step.get('with_mask')
    ]
    if not loads:
        return []
    masked = [x for x in split.objects if x.get('segmentation')]
    readable = [x for x in masked if is_readable(x['segmentation'])]
    run_lengths = [
        x for x in readable if isinstance(x['segmentation'], Mapping)
    ]
    findings = []
    bare = [x['id'] for x in split.objects if not x.get('segmentation')]
    if bare:
        findings += split.fail(
            f'{len(bare)} annotations have no segmentation, loading their '
            f"images stops with KeyError 'mask': ids {some(bare)}",
            'add segmentation (polygons or run lengths), delete them, or '
            'train boxes only: model.roi_head=None, no with_mask=True, and '
            "metric='bbox' of both evaluators",
        )
    broken = [x['id'] for x in masked if not is_readable(x['segmentation'])]
    if broken:
        findings += split.fail(
            f'{len(broken)} annotations have a segmentation that is neither '
            f'polygons nor run lengths: ids {some(broken)}',
            'write [[x1, y1, x2, y2, …], …] or '
            '{"size": [height, width], "counts": …}',
        )
    lost = [x['id'] for x in readable if not has_pixels(x['segmentation'])]
    if lost:
        findings += split.warn(
            f'{len(lost)} annotations have no polygon of {CORNERS} corners, '
            'or run lengths without a pixel, and are ignored or train as '
            f'empty: ids {some(lost)}',
            'mend their segmentation or delete them',
        )
    if any(step.get('poly2mask', True) is False for step in loads):
        # Those of crowds are ignored in any case.
        runs = [x['id'] for x in run_lengths if not x.get('iscrowd')]
        if runs:
            findings += split.fail(
                f'{len(runs)} objects have run-length masks, which '
                f'poly2mask=False makes mmdet ignore: ids {some(runs)}',
                'leave poly2mask out of LoadAnnotations',
            )
    misfits = [
        x['id']
        for x in run_lengths
        if tuple(x['segmentation']['size'][::-1])
        != split.image_sizes[x['image_id']]
    ]
    if misfits:
        findings += split.fail(
            f'{len(misfits)} run-length masks have not the size of their '
            f'image: ids {some(misfits)}',
            'write size as [height, width] of the image',
        )
    return findings

"""Masks in annotation files, where a pipeline loads them."""

from collections.abc import Callable, Mapping

from .check_annotations import Split
from .coco_format import is_number, some
from .findings import Finding
from .traps import kind, walk

CORNERS = 3
"""Fewest corners of a polygon; mmdet leaves out those with less."""


def is_readable(mask: object) -> bool:
    """Whether it is lists of numbers, or run lengths with their size."""
    if isinstance(mask, Mapping):
        size, counts = mask.get('size'), mask.get('counts')
        return (
            isinstance(size, list)
            and len(size) == 2
            and all(map(is_number, size))
            and (
                isinstance(counts, str)
                or (isinstance(counts, list) and all(map(is_number, counts)))
            )
        )
    return isinstance(mask, list) and all(
        isinstance(polygon, list) and all(map(is_number, polygon))
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


def check_masks(split: Split) -> list[Finding]:
    """What mmdet stops at, and what it leaves out in silence."""
    loads = [
        step
        for step in walk(split.pipeline)
        if kind(step) == 'LoadAnnotations' and step.get('with_mask')
    ]
    if not loads:
        return []
    present, readable = [], []
    for annotation in split.objects:
        mask = annotation.get('segmentation')
        if mask:
            present.append(annotation)
            if is_readable(mask):
                readable.append(annotation)

    def ids(annotations: list[Mapping], wrong: Callable) -> list:
        return [
            annotation['id']
            for annotation in annotations
            if wrong(annotation, annotation.get('segmentation'))
        ]

    findings = []
    bare = ids(split.objects, lambda _, mask: not mask)
    if bare:
        findings += split.fail(
            f'{len(bare)} annotations have no segmentation, loading their '
            f"images stops with KeyError 'mask': ids {some(bare)}",
            'add segmentation (polygons or run lengths), delete them, or '
            'train boxes only: model.roi_head=None, no with_mask=True, and '
            "metric='bbox' of both evaluators",
        )
    broken = ids(present, lambda _, mask: not is_readable(mask))
    if broken:
        findings += split.fail(
            f'{len(broken)} annotations have a segmentation that is neither '
            f'polygons nor run lengths: ids {some(broken)}',
            'write [[x1, y1, x2, y2, …], …] or '
            '{"size": [height, width], "counts": …}',
        )
    lost = ids(readable, lambda _, mask: not has_pixels(mask))
    if lost:
        findings += split.warn(
            f'{len(lost)} annotations have no polygon of {CORNERS} corners, '
            'or run lengths without a pixel, and are ignored or train as '
            f'empty: ids {some(lost)}',
            'mend their segmentation or delete them',
        )
    if any(step.get('poly2mask', True) is False for step in loads):
        # Those of crowds are ignored in any case.
        runs = ids(
            readable,
            lambda annotation, mask: (
                isinstance(mask, Mapping) and not annotation.get('iscrowd')
            ),
        )
        if runs:
            findings += split.fail(
                f'{len(runs)} objects have run-length masks, which '
                f'poly2mask=False makes mmdet ignore: ids {some(runs)}',
                'leave poly2mask out of LoadAnnotations',
            )
    misfits = ids(
        readable,
        lambda annotation, mask: (
            isinstance(mask, Mapping)
            and mask['size']
            != list(split.image_sizes[annotation['image_id']])[::-1]
        ),
    )
    if misfits:
        findings += split.fail(
            f'{len(misfits)} run-length masks have not the size of their '
            f'image: ids {some(misfits)}',
            'write size as [height, width] of the image',
        )
    return findings

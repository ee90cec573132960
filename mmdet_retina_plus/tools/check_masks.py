"""Masks in annotation files, where a pipeline loads them."""

from collections.abc import Callable, Mapping

from .check_annotations import Split
from .coco_format import some
from .findings import Finding
from .traps import kind, walk

CORNERS = 3
"""Fewest corners of a polygon; mmdet leaves out those with less."""


def has_area(mask: object) -> bool:
    """Whether mmdet finds a polygon among `mask`, or run lengths."""
    if not isinstance(mask, list):
        return True
    return any(
        isinstance(polygon, list)
        and len(polygon) >= 2 * CORNERS
        and len(polygon) % 2 == 0
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

    def ids(wrong: Callable[[object, Mapping], bool]) -> list:
        return [
            annotation['id']
            for annotation in split.objects
            if wrong(annotation.get('segmentation'), annotation)
        ]

    findings = []
    bare = ids(lambda mask, _: not mask)
    if bare:
        findings += split.fail(
            f'{len(bare)} annotations have no segmentation, loading their '
            f"images stops with KeyError 'mask': ids {some(bare)}",
            'add segmentation (polygons or run lengths), delete them, or '
            'train boxes only: model.roi_head=None and no with_mask=True',
        )
    lost = ids(lambda mask, _: bool(mask) and not has_area(mask))
    if lost:
        findings += split.warn(
            f'{len(lost)} annotations have no polygon of {CORNERS} corners '
            f'(x1, y1, x2, y2, …) and are ignored: ids {some(lost)}',
            'mend their segmentation or delete them',
        )
    if any(step.get('poly2mask', True) is False for step in loads):
        # Those of crowds are ignored in any case.
        runs = ids(
            lambda mask, annotation: (
                isinstance(mask, Mapping) and not annotation.get('iscrowd')
            )
        )
        if runs:
            findings += split.fail(
                f'{len(runs)} objects have run-length masks, which '
                f'poly2mask=False makes mmdet ignore: ids {some(runs)}',
                'leave poly2mask out of LoadAnnotations',
            )
    misfits = ids(
        lambda mask, annotation: (
            isinstance(mask, Mapping)
            and list(mask.get('size', ()))
            != list(split.image_sizes[annotation['image_id']])[::-1]
        )
    )
    if misfits:
        findings += split.fail(
            f'{len(misfits)} run-length masks have not the size of their '
            f'image: ids {some(misfits)}',
            'write size as [height, width] of the image',
        )
    return findings

"""How well the anchors of a config fit the objects of its data."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmdet_retina_plus.common.anchor_iou import best_anchor_iou
from mmdet_retina_plus.common.config_tree import kind

from .findings import Finding
from .split import Split

POOR_IOU = 0.4
"""RetinaNet takes no anchor below it for an object on its own merit."""
POOR_SHARE = 0.1
AREAS = {'small': 32**2, 'medium': 96**2, 'large': np.inf}
"""COCO's upper bounds, in pixels of the original image."""


def middle_scale(step: Mapping) -> tuple[int, int] | None:
    """Scale of a resizing transform, the middle one of a random one's."""
    scale = step.get('scale', step.get('scales'))
    if scale is None:
        return None
    if isinstance(scale, int):
        return scale, scale
    if not isinstance(scale[0], int):
        scales = sorted(scale)
        if kind(step) == 'RandomResize':
            return tuple(sum(edge) // 2 for edge in zip(*scales, strict=True))
        return tuple(scales[len(scales) // 2])
    ratio = sum(step.get('ratio_range') or (1, 1)) / 2
    return int(scale[0] * ratio), int(scale[1] * ratio)


def resized(sizes: np.ndarray, pipeline: Sequence[Mapping]) -> np.ndarray:
    """Widths and heights (N, 2) after the pipeline's resizing transforms."""
    for step in pipeline:
        if not kind(step).endswith('Resize'):
            continue
        scale = middle_scale(step)
        if scale is None:
            factors = np.broadcast_to(step.get('scale_factor', 1), (2,))
        elif step.get('keep_ratio', False):
            limits = np.array([max(scale), min(scale)])
            edges = np.sort(sizes, axis=1)[:, ::-1]
            factors = (limits / edges).min(axis=1, keepdims=True)
        else:
            sizes = np.broadcast_to(scale, sizes.shape)
            continue
        sizes = np.floor(sizes * factors + 0.5)
    return sizes


def check_anchors(
    split: Split, generator: Any, pad_size_divisor: int = 1
) -> list[Finding]:
    """Count the objects that no anchor fits, by size.

    Crops, and resizing within a random choice, are left aside.

    Args:
        split: Objects, and the pipeline that resizes them.
        generator: An `AnchorGenerator` of mmdet.
        pad_size_divisor: Of the data preprocessor.
    """
    crowd = np.array([bool(x.get('iscrowd')) for x in split.objects], bool)
    chosen = split.usable & ~crowd
    if not chosen.any():
        return []
    before = split.sizes_of_objects_images[chosen]
    after = resized(before, split.pipeline)
    boxes = split.boxes[chosen] * np.tile(after / before, 2)
    boxes = np.clip(boxes, 0, np.tile(after, 2))
    ious = best_anchor_iou(
        boxes,
        np.ceil(after / pad_size_divisor) * pad_size_divisor,
        [x.numpy() for x in generator.base_anchors],
        generator.strides,
    )
    areas = np.array([x['area'] for x in split.objects])[chosen]
    group = np.searchsorted(list(AREAS.values()), areas, side='right')
    poor = ious < POOR_IOU
    parts = [
        f'{(poor & (group == number)).sum()} of {(group == number).sum()} '
        f'{name}'
        for number, name in enumerate(AREAS)
    ]
    message = (
        f'best anchor IoU below {POOR_IOU}: {poor.sum()} of {len(poor)} '
        f'objects ({", ".join(parts)})'
    )
    if poor.mean() <= POOR_SHARE:
        return [Finding('ok', 'anchors', message)]
    way_out = (
        'for small objects lower anchor_generator.octave_base_scale, add a '
        'finer level or enlarge the images; for long ones add ratios'
    )
    return [Finding('warning', 'anchors', message, way_out)]

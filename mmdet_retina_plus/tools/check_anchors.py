"""How well the anchors of a config fit the objects of its data."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .check_annotations import Split
from .findings import Finding
from .traps import kind

POOR_IOU = 0.4
"""RetinaNet takes no anchor below it for an object on its own merit."""
POOR_SHARE = 0.1
BLOCK = 2048
"""Boxes at a time, so that their numbers stay in cache."""
AREAS = {'small': 32**2, 'medium': 96**2, 'large': np.inf}
"""COCO's upper bounds, in pixels of the original image."""


def best_overlap(
    spans: np.ndarray, anchors: np.ndarray, stride: float, counts: np.ndarray
) -> np.ndarray:
    """Most that spans share with an anchor at any place of an axis.

    Args:
        spans: First and last coordinate, shape (N, 2).
        anchors: The same of the anchors at place 0, shape (A, 2).
        stride: Distance between places.
        counts: Number of places in the image of each span, shape (N,).

    Returns:
        Shape (N, A).
    """
    # What two spans share falls with the distance between their centres.
    distance = spans.sum(axis=1)[:, None] - anchors.sum(axis=1)
    places = np.clip(np.rint(distance / 2 / stride), 0, counts[:, None] - 1)
    moved = anchors + places[..., None] * stride
    low = np.maximum(moved[..., 0], spans[:, None, 0])
    high = np.minimum(moved[..., 1], spans[:, None, 1])
    return np.maximum(high - low, 0)


def level_iou(
    boxes: np.ndarray,
    sizes: np.ndarray,
    anchors: np.ndarray,
    stride: tuple[float, float],
) -> np.ndarray:
    """IoU of boxes (N, 4) with a level's anchors (A, 4), best placed: (N, A).

    The image sizes (N, 2), width and height, limit the places.
    """
    shared = np.ones((len(boxes), len(anchors)))
    for axis in (0, 1):
        # Strided layers keep a part of a stride at the border.
        counts = np.ceil(sizes[:, axis] / stride[axis])
        shared *= best_overlap(
            boxes[:, axis::2], anchors[:, axis::2], stride[axis], counts
        )
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)[:, None]
    anchor_areas = (anchors[:, 2:] - anchors[:, :2]).prod(axis=1)
    return shared / (areas + anchor_areas - shared)


def best_anchor_iou(
    boxes: np.ndarray,
    sizes: np.ndarray,
    base_anchors: Sequence[np.ndarray],
    strides: Sequence[tuple[float, float]],
) -> np.ndarray:
    """IoU of every box with the anchor that fits it best.

    Exact, and without the anchors of an image: among those of one shape, the
    best is the nearest in x and in y.

    Args:
        boxes: Left, top, right, bottom, shape (N, 4).
        sizes: Width and height of each box's padded image, shape (N, 2).
        base_anchors: Anchors at the first place of each level, shape (A, 4).
        strides: In x and y, of each level.

    Returns:
        Shape (N,).
    """
    best = np.zeros(len(boxes))
    for start in range(0, len(boxes), BLOCK):
        rows = slice(start, start + BLOCK)
        for anchors, stride in zip(base_anchors, strides, strict=True):
            ious = level_iou(boxes[rows], sizes[rows], anchors, stride)
            best[rows] = np.maximum(best[rows], ious.max(axis=1))
    return best


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

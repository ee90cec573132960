"""IoU of boxes with the anchors that fit them best, without an anchor grid."""

from collections.abc import Sequence
from typing import Any

import numpy as np

POOR_IOU = 0.4
"""RetinaNet takes no anchor below it for an object on its own merit."""
GOOD_IOU = 0.5
"""From here on an anchor is a positive of RetinaNet."""
AREAS = {'small': 32**2, 'medium': 96**2, 'large': np.inf}
"""COCO's upper bounds, in pixels of the original image."""

BLOCK = 2048
"""Boxes at a time, so that their numbers stay in cache."""


def best_overlap(
    spans: np.ndarray, anchors: np.ndarray, stride: float, counts: np.ndarray
) -> np.ndarray:
    """Largest overlap of spans with an anchor at any location of an axis.

    Args:
        spans: First and last coordinate, shape (N, 2).
        anchors: The same of the anchors at location 0, shape (A, 2).
        stride: Distance between locations.
        counts: Number of locations in the image of each span, shape (N,).

    Returns:
        Shape (N, A).
    """
    # What two spans share falls with the distance between their centres.
    distance = spans.sum(axis=1)[:, None] - anchors.sum(axis=1)
    locations = np.clip(np.rint(distance / 2 / stride), 0, counts[:, None] - 1)
    moved = anchors + locations[..., None] * stride
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

    The image sizes (N, 2), width and height, limit the locations.
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
        base_anchors: Anchors at each level's first location, shape (A, 4).
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


def generator_iou(
    boxes: np.ndarray, sizes: np.ndarray, generator: Any
) -> np.ndarray:
    """IoU (N,) of every box with the best anchor of mmdet's generator.

    Args:
        boxes: Left, top, right, bottom, shape (N, 4).
        sizes: Width and height of each box's padded image, shape (N, 2).
        generator: An `AnchorGenerator`.
    """
    anchors = [anchors.numpy() for anchors in generator.base_anchors]
    return best_anchor_iou(boxes, sizes, anchors, generator.strides)


def size_group(areas: np.ndarray) -> np.ndarray:
    """Position of every area's group in `AREAS`."""
    return np.searchsorted(list(AREAS.values()), areas, side='right')

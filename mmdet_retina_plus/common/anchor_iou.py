"""IoU of boxes with their best anchors, without building the anchor grid."""

from collections.abc import Sequence
from typing import Any

import numpy as np

POOR_IOU = 0.4
"""Below it RetinaNet assigns an anchor only as a low-quality match."""
GOOD_IOU = 0.5
"""From this IoU on, an anchor is positive in RetinaNet."""
AREAS = {'small': 32**2, 'medium': 96**2, 'large': np.inf}
"""COCO's upper bounds, in pixels of the original image."""

BLOCK = 2048
"""Boxes per step, so that the arrays stay in cache."""


def best_overlap(
    spans: np.ndarray, anchors: np.ndarray, stride: float, counts: np.ndarray
) -> np.ndarray:
    """Largest overlap of spans with an anchor at any location of an axis.

    Args:
        spans: First and last coordinate, shape (N, 2).
        anchors: The same for the anchors at location 0, shape (A, 2).
        stride: Distance between locations.
        counts: Number of locations in each span's image, shape (N,).

    Returns:
        Shape (N, A).
    """
    # The overlap of two spans falls with the distance between their centres.
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
    """IoU (N, A) of boxes (N, 4) with anchors (A, 4) at their best location.

    The image sizes (N, 2), width and height, limit the locations.
    """
    shared = np.ones((len(boxes), len(anchors)))
    for axis in (0, 1):
        # Strided layers round an incomplete stride at the border up.
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
    """IoU of every box with its best anchor.

    The result is exact although the anchor grid is never built: among anchors
    of one shape, the best one is the nearest in x and in y.

    Args:
        boxes: Left, top, right, bottom, shape (N, 4).
        sizes: Width and height of each box's padded image, shape (N, 2).
        base_anchors: Anchors at each level's first location, shape (A, 4).
        strides: Stride in x and y of each level.

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
    """Index of every area's group in `AREAS`."""
    return np.searchsorted(list(AREAS.values()), areas, side='right')

"""Match detections with objects as COCO does.

faster-coco-eval matches in C++ but does not return the matches at each
threshold, which are needed to count errors, scores and confusions.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as mask_util

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""IoU thresholds of COCO; the first is used for errors and scores."""
SIZES = {
    'all': (0, 1e10),
    'small': (0, 32**2),
    'medium': (32**2, 96**2),
    'large': (96**2, 1e10),
}
"""Smallest and largest area in pixels, as in pycocotools."""
RANGES = np.array(list(SIZES.values()), dtype=float)
NONE = -1
"""Index for no object, or no detection."""


class Objects(NamedTuple):
    """Objects of an image.

    Attributes:
        labels: Index of each class, shape (G,).
        shapes: Boxes x, y, width, height of shape (G, 4), or G run-length
            encoded masks.
        areas: Areas in the annotations, shape (G,).
        crowd: Flags of crowd regions, which do not count, shape (G,).
    """

    labels: NDArray
    shapes: Any
    areas: NDArray
    crowd: NDArray


class Detections(NamedTuple):
    """Detections in an image.

    Attributes:
        labels: Index of each class, shape (D,).
        shapes: See `Objects`.
        areas: Areas of boxes or masks, shape (D,).
        scores: Shape (D,).
    """

    labels: NDArray
    shapes: Any
    areas: NDArray
    scores: NDArray

    def take(self, rows: NDArray) -> 'Detections':
        """Select some detections."""
        if isinstance(self.shapes, list):
            shapes: Any = [self.shapes[row] for row in rows]
        else:
            shapes = self.shapes[rows]
        return Detections(
            self.labels[rows], shapes, self.areas[rows], self.scores[rows]
        )


class Matches(NamedTuple):
    """Matches of the detections and objects of an image.

    Attributes:
        rows: Indices of the kept detections, by descending score, shape (D,).
        ious: Their IoU with objects of any class, shape (D, G).
        objects: Matched object by area range and threshold, or `NONE`, shape
            (A, T, D).
        ignored: Whether a detection counts neither as right nor as wrong,
            shape (A, T, D).
        left_out: Whether an object does not count, shape (A, G).
    """

    rows: NDArray
    ious: NDArray
    objects: NDArray
    ignored: NDArray
    left_out: NDArray


def match_image(
    truth: Objects, found: Detections, max_dets: int = 100
) -> Matches:
    """Match the detections of an image with its objects, like pycocotools.

    Args:
        truth: Objects of the image.
        found: Detections in the image.
        max_dets: Best detections of each class to keep.
    """
    rows = best_rows(found.labels, found.scores, max_dets)
    found = found.take(rows)
    ious = overlaps(found.shapes, truth.shapes, truth.crowd)
    low, high = RANGES.T[:, :, None]
    left_out = truth.crowd | (truth.areas < low) | (truth.areas > high)
    objects = np.full((len(RANGES), len(THRESHOLDS), len(rows)), NONE)
    for label in np.unique(truth.labels):
        (dets,) = np.nonzero(found.labels == label)
        (gts,) = np.nonzero(truth.labels == label)
        near = dets[(ious[np.ix_(dets, gts)] >= THRESHOLDS[0]).any(axis=1)]
        if not len(near):
            continue
        matched = match_class(
            ious[np.ix_(near, gts)], truth.crowd[gts], left_out[:, gts]
        )
        objects[..., near] = np.where(matched == NONE, NONE, gts[matched])
    # Unmatched detections of other sizes are not false positives of this size.
    ignored = (found.areas < low) | (found.areas > high)
    ignored = np.repeat(ignored[:, None], len(THRESHOLDS), axis=1)
    if len(truth.labels):
        of_matched = left_out[np.arange(len(RANGES))[:, None, None], objects]
        ignored = np.where(objects == NONE, ignored, of_matched)
    return Matches(rows, ious, objects, ignored, left_out)


def best_rows(labels: NDArray, scores: NDArray, most: int) -> NDArray:
    """Indices of the best detections of each class, by descending score."""
    order = np.argsort(-scores, kind='stable')
    by_class = order[np.argsort(labels[order], kind='stable')]
    _, starts, counts = np.unique(
        labels[by_class], return_index=True, return_counts=True
    )
    ranks = np.empty(len(order), dtype=int)
    ranks[by_class] = np.arange(len(order)) - np.repeat(starts, counts)
    return order[ranks[order] < most]


def overlaps(found: Any, truth: Any, crowd: NDArray) -> NDArray:
    """IoU of shape (D, G); with a crowd, intersection over detection."""
    if not len(found) or not len(truth):
        return np.zeros((len(found), len(truth)))
    return mask_util.iou(found, truth, crowd.astype(np.uint8).tolist())


def match_class(
    ious: NDArray, crowd: NDArray, left_out: NDArray
) -> NDArray[np.intp]:
    """Match detections with objects of their class, highest score first.

    A detection matches the unmatched object with the highest IoU, on ties the
    last one. It matches an object that does not count only if there is no
    other. A crowd can match any number of detections.

    Args:
        ious: IoU by descending score, shape (D, G).
        crowd: Flags of crowds, shape (G,).
        left_out: Whether an object does not count, by area range, shape
            (A, G).

    Returns:
        Index of the object or `NONE`, shape (A, T, D).
    """
    num_found, num = ious.shape
    limits = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    counted = ~left_out[:, None]
    free = np.ones((len(left_out), len(limits), num), dtype=bool)
    matched = np.full((*free.shape[:2], num_found), NONE)
    for number, overlap in enumerate(ious):
        near = (overlap >= limits) & (free | crowd)
        real = near & counted
        near = np.where(real.any(axis=-1, keepdims=True), real, near)
        hit = near.any(axis=-1)
        last = np.where(near, overlap, -1)[..., ::-1].argmax(axis=-1)
        best = num - 1 - last
        matched[..., number] = np.where(hit, best, NONE)
        free &= ~(hit[..., None] & (np.arange(num) == best[..., None]))
    return matched

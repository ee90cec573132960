"""Precision, recall and F1 over the score, and calibration, at an IoU of .5.

A detection is right if it matches an object in COCO's matching of all sizes.
Detections that match a crowd do not count.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .columns import Columns

BINS = 10
"""Bins of the reliability diagram, of equal width from 0 to 1."""
STEPS = 100
"""Steps of a curve over the score."""


class Ranked(NamedTuple):
    """Detections that count, by descending score.

    Attributes:
        scores: Shape (D,).
        right: Whether each is a true positive, shape (D,).
        num: Number of objects.
    """

    scores: NDArray
    right: NDArray
    num: int


def ranked(columns: Columns, label: int | None = None) -> Ranked:
    """Detections of a class, or of all classes together."""
    chosen = ~columns.ignored[:, 0, 0]
    objects = columns.num_objects()
    if label is not None:
        chosen &= columns.labels == label
        objects = objects[label : label + 1]
    (rows,) = np.nonzero(chosen)
    rows = rows[np.argsort(-columns.scores[rows], kind='stable')]
    return Ranked(
        columns.scores[rows], columns.hits[rows, 0, 0], int(objects.sum())
    )


def rates(
    right: NDArray, kept: NDArray, num: int
) -> tuple[NDArray, NDArray, NDArray]:
    """Precision, recall and F1; precision is NaN without detections.

    Args:
        right: Number of true positives.
        kept: Number of detections.
        num: Number of objects.
    """
    precision = np.divide(
        right, kept, out=np.full(len(kept), np.nan), where=kept > 0
    )
    recall = right / num if num else np.full(len(kept), np.nan)
    f1 = 2 * right / np.maximum(kept + num, 1)
    return precision, recall, f1


def best_threshold(items: Ranked) -> dict[str, float | None]:
    """Find the score threshold with the largest F1, on ties the highest one.

    Returns:
        `score`, `precision`, `recall` and `F1`; all None if no detection is
        right.
    """
    # A threshold cannot separate detections of equal scores.
    ends = np.flatnonzero(np.diff(items.scores, append=-np.inf))
    precision, recall, f1 = rates(
        items.right.cumsum()[ends], ends + 1, items.num
    )
    if not f1.any():
        return dict(score=None, precision=None, recall=None, F1=None)
    best = f1.argmax()
    return dict(
        score=float(items.scores[ends[best]]),
        precision=float(precision[best]),
        recall=float(recall[best]),
        F1=float(f1[best]),
    )


def score_grid(columns: Columns) -> NDArray:
    """Score thresholds of a curve: 0 to 1, or wider if scores are outside."""
    low = min(0, columns.scores.min(initial=0))
    high = max(1, columns.scores.max(initial=1))
    return np.linspace(low, high, STEPS + 1)


def over_scores(
    items: Ranked, grid: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """Precision, recall and F1 at each score threshold."""
    kept = np.searchsorted(-items.scores, -grid, side='right')
    right = np.concatenate([[0], items.right.cumsum()])[kept]
    return rates(right, kept, items.num)


def calibration(items: Ranked) -> dict[str, Any] | None:
    """Compare precision and score of detections in bins of score.

    Detection expected calibration error, as in Küppers et al., Multivariate
    Confidence Calibration for Object Detection,
    https://arxiv.org/abs/2004.13546, by score only.

    Returns:
        `ECE`, the mean difference of precision and score, weighted by
        detections, and `bins` with `count`, mean `score` and `precision`,
        None for an empty bin. None if a score is not a probability.
    """
    scores, right, _ = items
    if not len(scores) or scores.min() < 0 or scores.max() > 1:
        return None
    places = np.minimum((scores * BINS).astype(int), BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    sums = np.bincount(places, weights=scores, minlength=BINS)
    hits = np.bincount(places, weights=right, minlength=BINS)
    distance = np.abs(hits - sums).sum() / len(scores)
    bins = [
        dict(
            low=number / BINS,
            high=(number + 1) / BINS,
            count=int(count),
            score=float(total / count) if count else None,
            precision=float(hit / count) if count else None,
        )
        for number, (count, total, hit) in enumerate(
            zip(counts, sums, hits, strict=True)
        )
    ]
    return dict(ECE=float(distance), bins=bins)

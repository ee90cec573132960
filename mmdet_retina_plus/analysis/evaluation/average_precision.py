"""Average precision and recall as pycocotools computes them, from matches."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .columns import Columns
from .matching import SIZES, THRESHOLDS

RECALLS = np.linspace(0, 1, 101)
"""Recalls at which COCO samples the precision."""
AT_50, AT_75 = 0, 5
"""Indices in `THRESHOLDS`."""


class Precisions(NamedTuple):
    """Precisions in the order of pycocotools; NaN for classes without objects.

    Attributes:
        precision: At `RECALLS`, shape (T, R, C, A).
        recall: Largest recall, shape (T, C, A).
    """

    precision: NDArray
    recall: NDArray


def precisions(columns: Columns) -> Precisions:
    """Compute precisions and recalls of all classes."""
    num = columns.num_classes
    shape = (len(THRESHOLDS), len(RECALLS), num, len(SIZES))
    precision = np.full(shape, np.nan)
    recall = np.full((len(THRESHOLDS), num, len(SIZES)), np.nan)
    for size in range(len(SIZES)):
        objects = columns.num_objects(size)
        for label in np.flatnonzero(objects).tolist():
            right, wrong = columns.right_and_wrong(
                label, size, thresholds=slice(None)
            )
            found = precision_at_recalls(right, wrong, objects[label])
            precision[:, :, label, size], recall[:, label, size] = found
    return Precisions(precision, recall)


def precision_at_recalls(
    right: NDArray, wrong: NDArray, num: int
) -> tuple[NDArray, NDArray]:
    """Compute precision at `RECALLS`, and the largest recall, of a class.

    Args:
        right: Flags (T, D) of true positives, by descending score.
        wrong: Flags (T, D) of false positives; a detection may be neither.
        num: Number of objects, above 0.

    Returns:
        Shapes (T, 101) and (T,).
    """
    hits = right.cumsum(axis=1, dtype=float)
    misses = wrong.cumsum(axis=1, dtype=float)
    recall = hits / num
    precision = hits / (misses + hits + np.spacing(1))
    # The best precision at this recall or a higher one.
    reverse = precision[:, ::-1]
    precision = np.maximum.accumulate(reverse, axis=1)[:, ::-1]
    # Beyond the largest recall it is 0.
    precision = np.pad(precision, ((0, 0), (0, 1)))
    read = np.stack(
        [
            line[np.searchsorted(at, RECALLS, side='left')]
            for at, line in zip(recall, precision, strict=True)
        ]
    )
    last = recall[:, -1] if recall.shape[1] else np.zeros(len(recall))
    return read, last


def summary(found: Precisions) -> dict[str, float | None]:
    """Summarise as COCO does, over all classes or for one.

    Returns:
        `AP`, `AP50`, `AP75` and AP by size, and `AR` likewise; None without
        objects.
    """
    precision, recall = found
    numbers = dict(
        AP=known_mean(precision[..., 0]),
        AP50=known_mean(precision[AT_50, ..., 0]),
        AP75=known_mean(precision[AT_75, ..., 0]),
    )
    for index, size in list(enumerate(SIZES))[1:]:
        numbers[f'AP_{size}'] = known_mean(precision[..., index])
    numbers['AR'] = known_mean(recall[..., 0])
    for index, size in list(enumerate(SIZES))[1:]:
        numbers[f'AR_{size}'] = known_mean(recall[..., index])
    return numbers


def known_mean(values: NDArray) -> float | None:
    """Mean of the values that are not NaN, None if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None

"""Kinds of errors and their costs in AP, as defined by TIDE.

Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors,
https://arxiv.org/abs/2008.08115
"""

from collections.abc import Iterable
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from .average_precision import precision_at_recalls
from .columns import Columns
from .matching import NONE, THRESHOLDS, Matches, Objects

BACKGROUND_IOU = 0.1
"""Detections whose IoU with all objects is at most this are background."""


class Kind(IntEnum):
    """Kind of a detection; objects are not duplicates or background."""

    RIGHT = 0
    IGNORED = 1
    CLASS = 2
    LOCALISATION = 3
    BOTH = 4
    DUPLICATE = 5
    BACKGROUND = 6
    MISSED = 7


ERRORS = {
    Kind.CLASS: 'wrong class',
    Kind.LOCALISATION: 'poor localisation',
    Kind.BOTH: 'both',
    Kind.DUPLICATE: 'duplicate',
    Kind.BACKGROUND: 'background',
    Kind.MISSED: 'missed',
}
"""Names of the kinds, in the order of the paper; `both`: the first two."""


def kinds_of(
    matches: Matches, truth: Objects, labels: NDArray
) -> tuple[NDArray, NDArray]:
    """Find the kind of each detection of an image, and the object it aims at.

    Args:
        matches: Matches of the image.
        truth: Objects of the image; crowds do not count.
        labels: Class of each detection of `matches`, shape (D,).

    Returns:
        Both of shape (D,). The object is `NONE` unless the detection has the
        wrong class or a poor localisation.
    """
    kinds = np.full(len(labels), Kind.BOTH)
    targets = np.full(len(labels), NONE)
    ious = np.where(truth.crowd, 0, matches.ious)
    if ious.shape[1]:
        same = labels[:, None] == truth.labels
        own, other = ious * same, ious * ~same
        best_own, best_other = own.max(axis=1), other.max(axis=1)
        limit = THRESHOLDS[0]
        poor = (best_own >= BACKGROUND_IOU) & (best_own < limit)
        wrong = ~poor & (best_other >= limit)
        rest = ~poor & ~wrong
        far = np.maximum(best_own, best_other) <= BACKGROUND_IOU
        kinds[poor] = Kind.LOCALISATION
        kinds[wrong] = Kind.CLASS
        kinds[rest & (best_own >= limit)] = Kind.DUPLICATE
        kinds[rest & far] = Kind.BACKGROUND
        targets[poor] = own.argmax(axis=1)[poor]
        targets[wrong] = other.argmax(axis=1)[wrong]
    else:
        kinds[:] = Kind.BACKGROUND
    right = matches.objects[0, 0] != NONE
    kinds[right] = Kind.RIGHT
    kinds[matches.ignored[0, 0]] = Kind.IGNORED
    targets[kinds <= Kind.IGNORED] = NONE
    return kinds, targets


def object_kinds(columns: Columns) -> NDArray:
    """Kind of each object, shape (G,).

    An object that is not found is missed, unless a detection of a wrong class
    or with poor localisation aims at it. Then it has the kind of the best such
    detection.
    """
    kinds = np.full(len(columns.object_labels), Kind.MISSED)
    saved = saving(columns)
    kinds[columns.targets[saved]] = columns.kinds[saved]
    kinds[columns.finders != NONE] = Kind.RIGHT
    kinds[columns.left_out[:, 0]] = Kind.IGNORED
    return kinds


def saving(columns: Columns) -> NDArray:
    """Flag erroneous detections that would find their object if corrected.

    This is the best one for each object that is not found; others would be
    duplicates.
    """
    order = np.argsort(-columns.scores, kind='stable')
    order = order[columns.targets[order] != NONE]
    order = order[columns.finders[columns.targets[order]] == NONE]
    _, first = np.unique(columns.targets[order], return_index=True)
    return order[first]


def corrected(columns: Columns, kinds: Iterable[Kind]) -> Columns:
    """Correct errors of some kinds.

    Detections that would find their object get its class and match it. Other
    erroneous detections of these kinds and missed objects are ignored.
    """
    kinds = list(kinds)
    chosen = np.isin(columns.kinds, kinds)
    saved = saving(columns)
    saved = saved[chosen[saved]]
    labels, hits = columns.labels.copy(), columns.hits.copy()
    ignored, left_out = columns.ignored.copy(), columns.left_out.copy()
    ignored[chosen, 0, 0] = True
    ignored[saved, 0, 0] = False
    hits[saved, 0, 0] = True
    labels[saved] = columns.object_labels[columns.targets[saved]]
    if Kind.MISSED in kinds:
        left_out[object_kinds(columns) == Kind.MISSED, 0] = True
    return columns._replace(
        labels=labels, hits=hits, ignored=ignored, left_out=left_out
    )


def corrected_ap(columns: Columns, kinds: Iterable[Kind] = ()) -> float:
    """AP at an IoU of .5 without errors of some kinds.

    The mean is over classes with objects in `columns`; TIDE's code counts an
    AP of 0 for a class with detections only. As in TIDE, a class that loses
    all objects by the correction counts as 0 if it has false positives.
    """
    fixed = corrected(columns, kinds)
    left = fixed.num_objects()
    values = []
    for label in np.flatnonzero(columns.num_objects()).tolist():
        right, wrong = fixed.right_and_wrong(label)
        if left[label]:
            precision, _ = precision_at_recalls(right, wrong, left[label])
            values.append(precision.mean())
        elif wrong.any():
            values.append(0.0)
    return float(np.mean(values)) if values else 1.0


def error_costs(columns: Columns) -> dict[str, float]:
    """Gain of AP at an IoU of .5 if errors of one kind are corrected.

    Returns:
        Gain by name in `ERRORS`. It may be negative if a correction adds
        detections to a class.
    """
    now = corrected_ap(columns)
    return {
        name: corrected_ap(columns, [kind]) - now
        for kind, name in ERRORS.items()
    }


def error_counts(columns: Columns) -> NDArray:
    """Count detections by class and kind, and missed objects, shape (C, 8)."""
    missed = object_kinds(columns) == Kind.MISSED
    labels = np.concatenate([columns.labels, columns.object_labels[missed]])
    kinds = np.concatenate([columns.kinds, np.full(missed.sum(), Kind.MISSED)])
    cells = np.bincount(
        labels * len(Kind) + kinds, minlength=columns.num_classes * len(Kind)
    )
    return cells.reshape(-1, len(Kind))

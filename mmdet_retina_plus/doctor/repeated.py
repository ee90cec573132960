"""Find objects that are annotated twice, exactly or nearly."""

import numpy as np

from mmdet_retina_plus.common.text import clause, quantity, some

from .box_formats import WHOLE, iou_of_pairs
from .findings import Finding
from .split import Split

FEW = 0.02
"""Fraction of objects that may repeat a box without a warning."""
ONE = 0.85
"""IoU of two boxes of a class from which they count as one object."""
MANY, ENOUGH = 0.2, 8
"""Minimum fraction and number of repeated objects to report."""
NEIGHBOURS = 8
"""Number of next boxes, sorted by left edge, to compare each box with."""


def check_duplicates(split: Split) -> list[Finding]:
    """Report copies, near copies, and objects with two classes."""
    if not split.usable.any():
        return []
    return (
        check_copies(split) or check_twins(split) or check_two_classes(split)
    )


def check_copies(split: Split) -> list[Finding]:
    rows = np.column_stack([split.image_of, split.label_of, split.boxes])
    order = np.flatnonzero(split.usable)
    _, first, counts = np.unique(
        rows[order].round(2), axis=0, return_index=True, return_counts=True
    )
    twice = split.ids[order[first[counts > 1]]].tolist()
    if len(twice) <= FEW * len(order):
        return []
    return split.warn(
        f'{clause(int((counts - 1).sum()), "object", "repeat")} the box of '
        f'another of the same class: ids {some(twice)}',
        'a merge or second import doubles them: delete the second of each '
        'pair from the annotation file',
    )


def overlapping(
    split: Split, low: float, high: float = 1.0, by_class: bool = True
) -> np.ndarray:
    """Flags of the objects that overlap another one of their image.

    Args:
        split: Data set.
        low: IoU above which two objects overlap.
        high: IoU above which they do not count.
        by_class: Whether only objects of one class overlap.
    """
    order = np.flatnonzero(split.usable)
    labels = split.label_of * by_class
    keys = (split.boxes[:, 0], labels, split.image_of)
    order = order[np.lexsort([column[order] for column in keys])]
    group = split.image_of * (len(split.classes) + 1) + labels
    found = np.zeros(len(group), bool)
    for step in range(1, min(NEIGHBOURS + 1, len(order))):
        same = np.flatnonzero(group[order[:-step]] == group[order[step:]])
        one, other = order[same], order[same + step]
        ious = iou_of_pairs(split.boxes[one], split.boxes[other])
        near = (ious > low) & (ious <= high)
        found[one[near]] = found[other[near]] = True
    return found


def check_twins(split: Split) -> list[Finding]:
    """Report boxes a few pixels apart, as two annotators draw them."""
    order = np.flatnonzero(split.usable)
    found = overlapping(split, ONE)
    if found.sum() < max(ENOUGH, MANY * len(order)):
        return []
    return split.warn(
        f'{found.sum():,} of {quantity(len(order), "object")} have nearly '
        'the box of another of the same class, as if two people had '
        f'annotated them: ids {some(split.ids[found].tolist())}',
        'keep only the annotations of one person in the annotation file: a '
        'detector that finds each object once misses the other half',
    )


def check_two_classes(split: Split) -> list[Finding]:
    """Report objects annotated once per class and once per superclass."""
    extent = split.boxes[:, 2:] - split.boxes[:, :2]
    # Boxes of whole images have their own finding.
    partial = (extent < WHOLE * split.sizes).any(axis=1)
    order = np.flatnonzero(split.usable & partial)
    rows = np.column_stack([split.image_of, split.boxes])[order].round(2)
    _, place, counts = np.unique(
        rows, axis=0, return_inverse=True, return_counts=True
    )
    found = order[counts[place.reshape(-1)] > 1]
    if len(found) < max(ENOUGH, MANY * len(order)):
        return []
    names = [split.classes[x] for x in np.unique(split.label_of[found])]
    return split.warn(
        f'{len(found):,} of {quantity(len(order), "object")} have the box of '
        f'an object of another class ({some(names)}): a box trains only one '
        'of its classes',
        'keep one class per object, the finer one, in the annotation file',
    )

"""Confusion matrix of classes and background, from matches."""

import numpy as np
from numpy.typing import NDArray

from .columns import Columns
from .matching import NONE


def confusion_matrix(columns: Columns, score: float) -> NDArray[np.intp]:
    """Count objects by their class and the class of their detection.

    Matches within a class are COCO's at an IoU of .5, so the diagonal counts
    the true positives. Each other detection, best first, is matched to the
    unmatched object of another class with the highest IoU, if it is at least
    .5.

    Args:
        columns: Detections and objects.
        score: Minimum score of a detection.

    Returns:
        Shape (C + 1, C + 1): a row per class of objects, the last one for
        false detections on background; a column per class of detections, the
        last one for missed objects.
    """
    num = columns.num_classes
    matrix = np.zeros((num + 1, num + 1), dtype=int)
    counted = ~columns.left_out[:, 0]
    kept = (columns.scores >= score) & ~columns.ignored[:, 0, 0]
    finders = columns.finders
    found = counted & (finders != NONE)
    found[found] = kept[finders[found]]
    used = np.zeros(len(columns.labels), dtype=bool)
    used[finders[found]] = True
    of_found = columns.object_labels[found]
    np.add.at(matrix, (of_found, of_found), 1)
    dets = columns.pairs[:, 0]
    order = np.lexsort((-columns.pair_ious, -columns.scores[dets]))
    order = order[kept[dets[order]]]
    for det, target in columns.pairs[order].tolist():
        if not used[det] and not found[target]:
            used[det] = found[target] = True
            labels = columns.object_labels[target], columns.labels[det]
            matrix[labels] += 1
    missed = columns.object_labels[counted & ~found]
    false = columns.labels[kept & ~used]
    matrix[:num, num] = np.bincount(missed, minlength=num)
    matrix[num, :num] = np.bincount(false, minlength=num)
    return matrix

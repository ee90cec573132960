"""Detections and objects of all images in columns, with their matches."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Columns(NamedTuple):
    """All detections (D) and objects (G), in the order of their images.

    Attributes:
        num_classes: Number of classes.
        images: Number of the image of each detection, shape (D,).
        labels: Class of each detection, shape (D,).
        scores: Shape (D,).
        hits: Whether a detection matches an object by area range and
            threshold, shape (D, A, T).
        ignored: Whether a detection counts neither as right nor as wrong,
            shape (D, A, T).
        kinds: `Kind` of each detection, shape (D,).
        targets: Object that a wrong detection aims at, or `NONE`, shape (D,).
        object_images: Number of the image of each object, shape (G,).
        object_labels: Class of each object, shape (G,).
        left_out: Whether an object does not count by area range, shape (G, A).
        finders: Detection that found the object at an IoU of .5, or `NONE`,
            shape (G,).
        pairs: Detections and objects of other classes that overlap by .5 or
            more, shape (P, 2).
        pair_ious: Shape (P,).
    """

    num_classes: int
    images: NDArray
    labels: NDArray
    scores: NDArray
    hits: NDArray
    ignored: NDArray
    kinds: NDArray
    targets: NDArray
    object_images: NDArray
    object_labels: NDArray
    left_out: NDArray
    finders: NDArray
    pairs: NDArray
    pair_ious: NDArray

    def num_objects(self, size: int = 0) -> NDArray:
        """Count the objects of each class in an area range, shape (C,)."""
        counted = self.object_labels[~self.left_out[:, size]]
        return np.bincount(counted, minlength=self.num_classes)

    def by_score(self, label: int) -> NDArray:
        """Detections of a class by descending score."""
        (rows,) = np.nonzero(self.labels == label)
        return rows[np.argsort(-self.scores[rows], kind='stable')]

    def right_and_wrong(
        self, label: int, size: int = 0, thresholds: slice = slice(1)
    ) -> tuple[NDArray, NDArray]:
        """Flags of true and false positives of a class, by descending score.

        Args:
            label: The class.
            size: Index of the area range.
            thresholds: Indices of the IoU thresholds.

        Returns:
            Both of shape (T, D).
        """
        rows = self.by_score(label)
        hits = self.hits[rows, size, thresholds].T
        counted = ~self.ignored[rows, size, thresholds].T
        return hits & counted, ~hits & counted

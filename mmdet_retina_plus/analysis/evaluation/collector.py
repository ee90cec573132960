"""Match images one by one and collect the results in columns."""

from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .columns import Columns
from .error_kinds import Kind, kinds_of
from .matching import (
    NONE,
    THRESHOLDS,
    Detections,
    Objects,
    match_image,
)


class ImageColumns(NamedTuple):
    """Columns of an image, with indices within the image."""

    labels: NDArray
    scores: NDArray
    hits: NDArray
    ignored: NDArray
    kinds: NDArray
    targets: NDArray
    object_labels: NDArray
    left_out: NDArray
    finders: NDArray
    pairs: NDArray
    pair_ious: NDArray


def badness_of(
    objects: int, hits: NDArray, false: NDArray, least: float = -inf
) -> float:
    """Rate the errors in an image by the detections from a score on.

    Args:
        objects: Number of objects.
        hits: Scores of the detections that found one.
        false: Scores of the false detections.
        least: Minimum score.

    Returns:
        Sum of 1 for each missed object, 1 minus the score for each found
        object, and the score of each false detection.
    """
    found, wrong = (part[part >= least].sum() for part in (hits, false))
    return float(objects - found + wrong)


class Collector:
    """Match images and collect the results.

    Args:
        num_classes: Number of classes.
        max_dets: Number of best detections to keep per class and image.
    """

    def __init__(self, num_classes: int, max_dets: int = 100) -> None:
        self.num_classes = num_classes
        self.max_dets = max_dets
        self.num_cut = 0
        self.images: dict[int, ImageColumns] = {}

    def add(
        self, number: int, truth: Objects, found: Detections
    ) -> tuple[float, Detections]:
        """Match an image.

        Args:
            number: Number of the image, which orders detections of equal
                scores.
            truth: Objects of the image.
            found: Detections in the image.

        Returns:
            See `badness_of`, over all scores. And the matched detections, by
            descending score.
        """
        matches = match_image(truth, found, self.max_dets)
        self.num_cut += len(found.scores) - len(matches.rows)
        kept = found.take(matches.rows)
        labels, scores = kept.labels, kept.scores
        kinds, targets = kinds_of(matches, truth, labels)
        first = matches.objects[0, 0]
        finders = np.full(len(truth.labels), NONE)
        (hits,) = np.nonzero((first != NONE) & ~matches.ignored[0, 0])
        finders[first[hits]] = hits
        other = labels[:, None] != truth.labels
        near = (matches.ious >= THRESHOLDS[0]) & other & ~truth.crowd
        pairs = np.argwhere(near)
        self.images[number] = ImageColumns(
            labels,
            scores,
            (matches.objects != NONE).transpose(2, 0, 1),
            matches.ignored.transpose(2, 0, 1),
            kinds.astype(np.int8),
            targets,
            truth.labels,
            matches.left_out.T,
            finders,
            pairs,
            matches.ious[tuple(pairs.T)],
        )
        false = scores[kinds > Kind.IGNORED]
        objects = (~truth.crowd).sum()
        return badness_of(objects, scores[hits], false), kept

    def columns(self) -> Columns:
        """Columns of all images."""
        numbers = sorted(self.images)
        items = [self.images[number] for number in numbers]
        counts = np.array([len(item.labels) for item in items], dtype=int)
        objects = np.array([len(item.finders) for item in items], dtype=int)
        det_starts = counts.cumsum() - counts
        object_starts = objects.cumsum() - objects
        starts = np.stack([det_starts, object_starts], axis=1)
        columns = ImageColumns(
            *(np.concatenate(parts) for parts in zip(*items, strict=True))
        )
        pairs = [len(item.pairs) for item in items]
        return Columns(
            self.num_classes,
            np.repeat(numbers, counts),
            columns.labels,
            columns.scores,
            columns.hits,
            columns.ignored,
            columns.kinds,
            shifted(columns.targets, np.repeat(object_starts, counts)),
            np.repeat(numbers, objects),
            columns.object_labels,
            columns.left_out,
            shifted(columns.finders, np.repeat(det_starts, objects)),
            columns.pairs + np.repeat(starts, pairs, axis=0),
            columns.pair_ious,
        )


def shifted(indices: NDArray, starts: NDArray) -> NDArray:
    """Shift indices to count over all images; `NONE` stays."""
    return np.where(indices == NONE, NONE, indices + starts)

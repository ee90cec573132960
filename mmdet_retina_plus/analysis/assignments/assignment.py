"""Assignment of the priors of an image by a head."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1


@dataclass(frozen=True)
class Assignment:
    """The N priors of one image over all levels, and their P positive pairs.

    A pair is a prior and an object that it is positive for. A prior may have
    several, such as a location of a heat map with one channel per class.

    Attributes:
        strides: Pixels between the locations of each level.
        levels: Level of each prior, shape (N,).
        centres: Centres in pixels of the network's input, shape (N, 2).
        boxes: Shape (N, 4); None if priors are points.
        states: `POSITIVE`, `NEGATIVE` or `IGNORED`, shape (N,). Ignored priors
            have no weight in the classification loss, because of assigner,
            sampler, mining or padding.
        priors: Positive prior of each pair, shape (P,).
        objects: Object of each pair, shape (P,).
        weights: The head's soft weight of each pair, 0 to 1, shape (P,).
        scores: Predicted foreground score of each prior, shape (N,).
    """

    strides: Sequence[float]
    levels: np.ndarray
    centres: np.ndarray
    boxes: np.ndarray | None
    states: np.ndarray
    priors: np.ndarray
    objects: np.ndarray
    weights: np.ndarray
    scores: np.ndarray

    def count(self, state: int) -> list[int]:
        """Number of priors in a state per level."""
        chosen = self.levels[self.states == state]
        return np.bincount(chosen, minlength=len(self.strides)).tolist()

    def positives_of(self, num_objects: int) -> np.ndarray:
        """Number of positives of each object, shape (G,)."""
        return np.bincount(self.objects, minlength=num_objects)


def level_numbers(sizes: Sequence[int]) -> np.ndarray:
    """Level of each prior, given the number of priors per level."""
    return np.repeat(np.arange(len(sizes)), sizes)


def centres_of(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] + boxes[:, 2:]) / 2

"""Overlaps of negatives with objects, which motivate Libra R-CNN.

Most randomly drawn negatives hardly overlap any object, most hard ones do:
https://arxiv.org/abs/1904.02701
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmdet.structures.bbox import bbox_overlaps

from .assignment import NEGATIVE
from .strategies import Scene

PER_IMAGE = 256
"""Number of negatives, the batch size of an RPN."""


class NegativeOverlaps(NamedTuple):
    """Largest IoU of negatives with any object.

    Attributes:
        random: IoUs of randomly drawn negatives.
        hardest: IoUs of negatives with the highest foreground score; None for
            an untrained model.
    """

    random: np.ndarray
    hardest: np.ndarray | None


def negative_overlaps(scene: Scene, trained: bool) -> NegativeOverlaps | None:
    """Overlaps of some negatives of an image, None if priors are points.

    Args:
        scene: The image under one strategy.
        trained: Whether scores are meaningful.
    """
    assignment = scene.assignment
    if assignment.boxes is None:
        return None
    negatives = np.flatnonzero(assignment.states == NEGATIVE)
    number = min(PER_IMAGE, len(negatives))
    chosen = np.random.default_rng(0).choice(negatives, number, replace=False)
    order = np.argsort(-assignment.scores[negatives], kind='stable')
    return NegativeOverlaps(
        overlaps(scene, chosen),
        overlaps(scene, negatives[order[:number]]) if trained else None,
    )


def joined(
    images: Sequence[NegativeOverlaps | None],
) -> NegativeOverlaps | None:
    """Overlaps of all images of one strategy."""
    known = [item for item in images if item is not None]
    if len(known) < len(images):
        return None
    hardest = [item.hardest for item in known if item.hardest is not None]
    return NegativeOverlaps(
        np.concatenate([item.random for item in known]),
        np.concatenate(hardest) if hardest else None,
    )


def overlaps(scene: Scene, priors: np.ndarray) -> np.ndarray:
    """Largest IoU of each prior with any object, shape (N,)."""
    assert scene.assignment.boxes is not None
    if not len(scene.boxes):
        return np.zeros(len(priors))
    ious = bbox_overlaps(
        torch.as_tensor(scene.assignment.boxes[priors]),
        torch.as_tensor(scene.boxes),
    )
    return ious.amax(dim=1).numpy()

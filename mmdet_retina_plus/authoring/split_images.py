"""Split the images of a file into training and validation, by class."""

import numpy as np


def choose_validation(
    presence: np.ndarray, fraction: float, seed: int
) -> np.ndarray:
    """Choose validation images so that every class is split in proportion.

    The rarest class comes first, as in Sechidis et al., "On the
    stratification of multi-label data", 2011. Each class keeps an image for
    training, and gets one for validation if it has another.

    Args:
        presence: Whether an image has an object of a class, shape (N, C).
        fraction: Fraction of the images for validation, in (0, 1).
        seed: Seed of the order in which images are tried.

    Returns:
        Flags of the validation images, shape (N,).

    Raises:
        ValueError: Every class would lose its last image.
    """
    order = np.random.default_rng(seed).permutation(len(presence))
    totals = presence.sum(axis=0)
    left = totals.copy()
    free = np.ones(len(presence), bool)
    chosen = np.zeros(len(presence), bool)
    for label in np.argsort(totals, kind='stable'):
        there = presence[:, label]
        missing = wanted(totals[label], fraction) - (chosen & there).sum()
        for image in order[(free & there)[order]]:
            free[image] = False
            if missing > 0 and (left[presence[image]] > 1).all():
                chosen[image] = True
                left -= presence[image]
                missing -= 1
    empty = order[free[order]]
    chosen[empty[: round(fraction * len(empty))]] = True
    if not chosen[presence.any(axis=1)].any():
        raise ValueError(
            'too few images to split: every class needs one for training and '
            'one for validation; provide validation images with --val'
        )
    return chosen


def wanted(images: int, fraction: float) -> int:
    """Number of validation images of a class, out of its images."""
    return min(max(round(fraction * images), 1), images - 1)

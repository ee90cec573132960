"""Images of one file divided into training and validation, by class."""

import numpy as np


def choose_validation(
    presence: np.ndarray, fraction: float, seed: int
) -> np.ndarray:
    """Choose images such that every class is divided alike.

    Classes are served from the rarest on, as in Sechidis et al., "On the
    stratification of multi-label data", 2011. Each keeps an image for
    training, and gets one for validation where it has another.

    Args:
        presence: Which images hold which class, shape (N, C).
        fraction: Of the images, in (0, 1).
        seed: Of the order in which images are tried.

    Returns:
        Which images are for validation, shape (N,).

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
            'too few images to divide: every class needs one for training '
            'and one for validation; give validation images by --val'
        )
    return chosen


def wanted(images: int, fraction: float) -> int:
    """Images of a class for validation, of a number of them."""
    return min(max(round(fraction * images), 1), images - 1)

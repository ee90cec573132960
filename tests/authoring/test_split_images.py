"""Images divided into training and validation, by class."""

import numpy as np
import pytest

from mmdet_retina_plus.authoring.split_images import choose_validation


def random_presence(seed: int, rates=(0.5, 0.2, 0.05, 0.02)) -> np.ndarray:
    """Images of several classes each, or of none, shape (200, 4)."""
    return np.random.default_rng(seed).random((200, len(rates))) < rates


@pytest.mark.parametrize('seed', range(5))
def test_each_class_is_divided_by_the_fraction(seed):
    labels = np.repeat(range(4), [120, 60, 16, 4])
    presence = np.random.default_rng(seed).permutation(np.eye(4) > 0)[labels]
    val = presence[choose_validation(presence, 0.2, seed)].sum(axis=0)
    wanted = np.clip(0.2 * presence.sum(axis=0), 1, None)
    assert (abs(val - wanted) <= 0.5).all()


@pytest.mark.parametrize('seed', range(20))
def test_each_class_is_in_training_and_where_it_can_in_validation(seed):
    presence = random_presence(seed)
    totals = presence.sum(axis=0)
    val = presence[choose_validation(presence, 0.3, seed)].sum(axis=0)
    assert ((totals - val)[totals > 0] > 0).all()
    assert (val[totals > 1] > 0).all()


def test_images_without_objects_are_divided_by_the_fraction():
    presence = np.zeros((100, 1), bool)
    presence[:40] = True
    chosen = choose_validation(presence, 0.25, 0)
    assert chosen[:40].sum() == 10 and chosen[40:].sum() == 15


def test_the_seed_decides():
    presence = random_presence(0)
    first, again, other = (
        choose_validation(presence, 0.2, seed) for seed in (1, 1, 2)
    )
    assert (first == again).all() and (first != other).any()


def test_one_image_a_class_cannot_be_divided():
    with pytest.raises(
        ValueError, match='provide validation images with --val'
    ):
        choose_validation(np.eye(3, dtype=bool), 0.5, 0)

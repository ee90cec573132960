"""When a failed trial is repeated with larger images."""

import pytest
import torch

from mmdet_retina_plus.doctor.trial import LARGEST, WHOLE, small_or_whole

LARGE = [{'inputs': torch.zeros(1, 1, WHOLE)}]
SMALL = [{'inputs': torch.zeros(1, 1, LARGEST)}]


def tried(message, samples):
    """Image sides tried for a run that fails below 640 pixels."""
    sides = []

    def run(longest):
        sides.append(longest)
        if longest < WHOLE:
            raise RuntimeError(message)

    try:
        small_or_whole(run, samples)
    except RuntimeError as error:
        assert str(error) == message
    return sides


@pytest.mark.parametrize(
    'message',
    ['selected index k out of range', 'The size of tensor a must match', ''],
)
def test_images_may_be_too_small(message):
    assert tried(message, LARGE) == [LARGEST, 2 * LARGEST, WHOLE]
    assert tried(message, SMALL) == [LARGEST]


def test_other_failures_are_not_repeated():
    assert tried("'loss_cls' is missing", LARGE) == [LARGEST]

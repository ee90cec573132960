"""When a failed trial is repeated with larger images."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmdet_retina_plus.doctor.trial import (
    LARGEST,
    WHOLE,
    check_idle,
    small_or_whole,
    without_gradient,
)

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


def test_weights_that_no_loss_depends_on():
    model = nn.ModuleDict({x: nn.Linear(1, 1, False) for x in 'abc'})
    model['b'].requires_grad_(False)
    model['a'](torch.ones(1)).sum().backward()
    assert without_gradient(model) == ['c.weight']
    sample = {'data_samples': SimpleNamespace(gt_instances=[1])}
    empty = {'data_samples': SimpleNamespace(gt_instances=[])}
    (finding,) = check_idle(['c.weight'], [sample, sample])
    assert 'find_unused_parameters=True' in finding.fix
    assert check_idle(['c.weight'], [sample, empty]) == []
    assert check_idle([], [sample]) == []

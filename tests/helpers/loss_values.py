"""A loss as numbers: what the tests of losses compare."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mmdet_retina_plus.losses import SelfAdjustingSmoothL1Loss
from tests.helpers.builders import one_of_two_processes


def oracle(name: str) -> dict:
    path = Path(__file__).parents[1] / 'oracles' / f'{name}.json'
    return json.loads(path.read_text())


def value_and_gradient(
    loss: Callable[..., Tensor], pred: Tensor, *args, **kwargs
) -> tuple[Tensor, Tensor]:
    """The loss, and the gradient of its sum with respect to ``pred``."""
    pred = pred.clone().requires_grad_()
    value = loss(pred, *args, **kwargs)
    value.sum().backward()
    assert pred.grad is not None
    return value.detach(), pred.grad


def observe_in_two_processes(
    rank: int, steps: Sequence[Sequence[Sequence[Tensor]]], folder: Path
) -> None:
    """Body of one of two processes: its statistics after every step.

    Args:
        rank: 0 or 1.
        steps: Arguments of the loss, by step and rank.
        folder: Gets one file per rank.
    """
    with one_of_two_processes(rank, folder):
        loss = SelfAdjustingSmoothL1Loss(sync=True)
        seen = []
        for step in steps:
            loss(*step[rank])
            seen.append((loss.running_mean.clone(), loss.running_var.clone()))
        torch.save(seen, folder / f'{rank}.pt')

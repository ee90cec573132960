"""A loss as numbers: what the tests of losses compare."""

import json
from collections.abc import Callable
from pathlib import Path

from torch import Tensor


def oracle(name: str) -> dict:
    path = Path(__file__).parent / 'oracles' / f'{name}.json'
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

"""A loss as numbers: its value and its gradient."""

from collections.abc import Callable

from torch import Tensor


def value_and_gradient(
    loss: Callable[..., Tensor], pred: Tensor, *args, **kwargs
) -> tuple[Tensor, Tensor]:
    """The loss, and the gradient of its sum with respect to ``pred``."""
    pred = pred.clone().requires_grad_()
    value = loss(pred, *args, **kwargs)
    value.sum().backward()
    assert pred.grad is not None
    return value.detach(), pred.grad

"""Find a detector's classification loss and observe its calls."""

import inspect
from collections.abc import Callable
from typing import Any

from mmdet.models.losses import QualityFocalLoss, VarifocalLoss
from mmengine.model import is_model_wrapper
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Observer = Callable[[Any, Any, Tensor | None], object]
"""Receives logits, targets and weights as the head passes them."""


def find_bbox_head(model: nn.Module) -> nn.Module | None:
    """Find the box head of a detector, None if it has none.

    Detector and head may be wrapped for distributed training.
    """
    head = getattr(unwrap(model), 'bbox_head', None)
    return None if head is None else unwrap(head)


def unwrap(module: nn.Module) -> nn.Module:
    while is_model_wrapper(module):
        module = module.get_submodule('module')
    return module


def has_soft_targets(loss: nn.Module) -> bool:
    """Whether a loss of mmdet takes IoUs as soft targets."""
    return isinstance(loss, QualityFocalLoss | VarifocalLoss)


def listen(loss: nn.Module, observe: Observer) -> RemovableHandle:
    """Pass the arguments of a classification loss to an observer.

    The observer runs before each call. Calls with
    ``reduction_override='none'`` are left out: heads use them to weight or
    rank anchors, not as the loss.

    Args:
        loss: A loss with logits and targets as first arguments, as in mmdet.
        observe: The observer.

    Returns:
        A handle; its ``remove`` detaches the observer.
    """
    signature = inspect.signature(loss.forward)

    def take(module: nn.Module, args: tuple, kwargs: dict) -> None:
        call: dict[str, Any] = signature.bind(*args, **kwargs).arguments
        if call.get('reduction_override') != 'none':
            logits, targets, *_ = call.values()
            observe(logits, targets, call.get('weight'))

    return loss.register_forward_pre_hook(take, with_kwargs=True)

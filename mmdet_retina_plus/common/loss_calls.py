"""Where a detector's classification loss is, and what it is called with."""

import inspect
from collections.abc import Callable
from typing import Any

from mmdet.models.losses import QualityFocalLoss, VarifocalLoss
from mmengine.model import is_model_wrapper
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Observer = Callable[[Any, Any, Tensor | None], object]
"""Is given logits, targets and weights, whatever a head takes for them."""


def find_bbox_head(model: nn.Module) -> nn.Module | None:
    """The box head of a detector, None if it has none.

    Either may be wrapped for several processes.
    """
    head = getattr(unwrap(model), 'bbox_head', None)
    return None if head is None else unwrap(head)


def unwrap(module: nn.Module) -> nn.Module:
    while is_model_wrapper(module):
        module = module.get_submodule('module')
    return module


def has_soft_targets(loss: nn.Module) -> bool:
    """Whether a loss of mmdet is called with IoUs in place of labels."""
    return isinstance(loss, QualityFocalLoss | VarifocalLoss)


def listen(loss: nn.Module, observe: Observer) -> RemovableHandle:
    """Tell what a classification loss is called with, before each call.

    Calls with ``reduction_override='none'`` are left out: heads weigh or rank
    anchors by them, before the loss.

    Args:
        loss: Takes logits and targets first, as mmdet's losses do.
        observe: Is told.

    Returns:
        Its ``remove`` ends that.
    """
    signature = inspect.signature(loss.forward)

    def take(module: nn.Module, args: tuple, kwargs: dict) -> None:
        call: dict[str, Any] = signature.bind(*args, **kwargs).arguments
        if call.get('reduction_override') != 'none':
            logits, targets, *_ = call.values()
            observe(logits, targets, call.get('weight'))

    return loss.register_forward_pre_hook(take, with_kwargs=True)

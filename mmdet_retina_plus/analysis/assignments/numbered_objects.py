"""Find the object of every positive prior from a head's targets."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from mmdet.models import ATSSHead
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor

from .watching import replaced

PRIORS = ('anchor_list', 'points')
"""Names that heads use for the priors in `get_targets`."""


@dataclass
class Targets:
    """Inputs and results of `get_targets` for one image.

    Attributes:
        priors: Boxes or points of each level, shape (A_l, 4) or (A_l, 2).
        numbers: Object of each prior, -1 for none, one item per level.
        labels: Labels that the head's loss gets, one item per level.
    """

    priors: list[Tensor] = field(default_factory=list)
    numbers: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)


@contextmanager
def numbered_objects(head: Any) -> Iterator[Targets]:
    """Record the object of each positive prior in a `with` block.

    Assigners, samplers and heads pass labels on without reading them. So
    `get_targets` gets the numbers of the objects, offset beyond the classes,
    in place of labels, and the true labels are restored in its result. The
    targets are computed once, as in training.
    """
    get_targets = head.get_targets
    signature = inspect.signature(get_targets)
    place = 1 if isinstance(head, ATSSHead) else 0
    first = head.num_classes + 1
    seen = Targets()

    def targets(*args: Any, **kwargs: Any) -> tuple:
        call = signature.bind(*args, **kwargs)
        (truth,) = call.arguments['batch_gt_instances']
        seen.priors = priors_in(call.arguments)
        call.arguments['batch_gt_instances'] = numbered(truth, first)
        result = list(get_targets(*call.args, **call.kwargs))
        # Levels have an axis of images in all heads but FCOS.
        seen.numbers = [
            (level.flatten() - first).clamp(min=-1) for level in result[place]
        ]
        result[place] = [
            true_labels(level, truth.labels, first) for level in result[place]
        ]
        seen.labels = [level.flatten() for level in result[place]]
        return tuple(result)

    with replaced(head, 'get_targets', targets):
        yield seen


def priors_in(arguments: dict[str, Any]) -> list[Tensor]:
    """Priors of each level in a call of `get_targets`, as a new list.

    ATSSHead joins the levels in place.
    """
    (name,) = set(PRIORS) & set(arguments)
    priors = arguments[name]
    return list(priors if name == 'points' else priors[0])


def numbered(truth: InstanceData, first: int) -> InstanceList:
    """Objects with their numbers, starting at `first`, as labels."""
    copy = truth.new()
    copy.labels = first + torch.arange(
        len(truth), device=truth.labels.device, dtype=truth.labels.dtype
    )
    return [copy]


def true_labels(numbers: Tensor, labels: Tensor, first: int) -> Tensor:
    """Labels of priors from the numbers of their objects."""
    found = numbers >= first
    restored = numbers.clone()
    restored[found] = labels[numbers[found] - first]
    return restored

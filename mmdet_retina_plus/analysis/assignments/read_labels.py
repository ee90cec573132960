"""Read heads whose loss takes a label and a weight per prior.

RetinaHead, RetinaPlusHead with its mining, ATSSHead, GARetinaHead, RPNHead and
FCOSHead; SSDHead, which mines within its loss.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmdet_retina_plus.analysis.counted_anchors import (
    check_call,
    other_targets,
)
from mmdet_retina_plus.common.loss_calls import has_soft_targets, listen
from mmdet_retina_plus.mining.stochastic_hard_mining import foreground_scores

from .assignment import (
    IGNORED,
    NEGATIVE,
    POSITIVE,
    Assignment,
    centres_of,
    level_numbers,
)
from .numbered_objects import Targets, numbered_objects
from .watching import replaced, watched


class Counted:
    """Arguments of a classification loss, in the order of priors."""

    def __init__(self) -> None:
        self.labels: list[Tensor] = []
        self.weights: list[Tensor] = []
        self.scores: list[Tensor] = []

    def add(self, labels: Tensor, weights: Tensor, scores: Tensor) -> None:
        self.labels.append(labels.detach().cpu())
        self.weights.append(weights.detach().cpu())
        self.scores.append(scores.detach().cpu())


def read_labels(
    head: Any, features: Sequence[Tensor], samples: list
) -> Assignment:
    """Read the assignment of an image from the arguments of a head's loss.

    Args:
        head: Head of a detector in training mode.
        features: Output of the neck for one image.
        samples: One, as the data preprocessor leaves it.

    Raises:
        ValueError: The loss takes targets other than labels.
    """
    soft: list = []
    with ExitStack() as stack:
        targets = stack.enter_context(numbered_objects(head))
        counted = stack.enter_context(loss_of(head))
        if hasattr(head, 'centerness_target'):
            soft = stack.enter_context(watched(head, 'centerness_target'))
        head.loss(features, samples)
    return assignment_of(head, targets, counted, [x.result for x in soft])


def loss_of(head: Any) -> Any:
    """Context that records the priors counted by a head's loss."""
    if getattr(head, 'loss_cls', None) is None:
        return mined(head)
    return counted_labels(head)


@contextmanager
def counted_labels(head: Any) -> Iterator[Counted]:
    """Record the arguments of `loss_cls`; mmdet calls it once per level."""
    loss = head.loss_cls
    if has_soft_targets(loss):
        raise other_targets(loss)
    use_sigmoid = bool(getattr(loss, 'use_sigmoid', head.use_sigmoid_cls))
    counted = Counted()

    def take(logits: Any, labels: Any, weight: Tensor | None) -> None:
        check_call(loss, logits, labels, head.num_classes, use_sigmoid)
        if weight is None:
            weight = torch.ones(len(labels))
        if weight.dim() > 1:
            weight = weight.flatten(1).max(dim=1).values
        counted.add(labels, weight, foreground_scores(logits, use_sigmoid))

    handle = listen(loss, take)
    try:
        yield counted
    finally:
        handle.remove()


@contextmanager
def mined(head: Any) -> Iterator[Counted]:
    """Record priors that SSDHead's loss counts: logits with a gradient."""
    single = head.loss_by_feat_single
    counted = Counted()

    def watch(cls_score: Tensor, *args: Any, **kwargs: Any) -> Any:
        with torch.enable_grad():
            logits = cls_score.detach().requires_grad_()
            losses = single(logits, *args, **kwargs)
            (gradient,) = torch.autograd.grad(losses[0].sum(), logits)
        weights = gradient.abs().sum(dim=1)
        labels = args[2]
        counted.add(labels, weights, foreground_scores(logits, False))
        return losses

    with replaced(head, 'loss_by_feat_single', watch):
        yield counted


def assignment_of(
    head: Any, targets: Targets, counted: Counted, soft: list[Tensor]
) -> Assignment:
    """Combine the records of one image.

    Raises:
        ValueError: Loss and targets have different priors.
    """
    labels = torch.cat(counted.labels)
    numbers = torch.cat(targets.numbers).cpu()
    if not torch.equal(labels, torch.cat(targets.labels).cpu()):
        raise ValueError(
            f'{type(head).__name__} changes its labels between get_targets '
            'and its loss: its assignment cannot be shown'
        )
    weighted = torch.cat(counted.weights) > 0
    is_object = numbers >= 0
    states = torch.full_like(labels, IGNORED)
    states[weighted & ~is_object] = NEGATIVE
    states[weighted & is_object] = POSITIVE
    positives = (weighted & is_object).nonzero().flatten()
    weights = torch.ones(len(labels))
    if soft:
        weights[is_object] = torch.cat(soft).float().cpu()
    priors = torch.cat(targets.priors).cpu().numpy()
    is_box = priors.shape[1] == 4
    return Assignment(
        strides=strides_of(head),
        levels=level_numbers([len(level) for level in targets.priors]),
        centres=centres_of(priors) if is_box else priors,
        boxes=priors if is_box else None,
        states=states.numpy(),
        priors=positives.numpy(),
        objects=numbers[positives].numpy(),
        weights=weights[positives].numpy(),
        scores=torch.cat(counted.scores).float().numpy(),
    )


def strides_of(head: Any) -> list[float]:
    """Stride in x of every level."""
    generator = getattr(head, 'square_anchor_generator', None)
    generator = generator or head.prior_generator
    return [float(np.ravel(stride)[0]) for stride in generator.strides]

"""The anchors that a dense head's classification loss counts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from mmdet.models import SingleStageDetector
from torch import Tensor, nn

from mmdet_retina_plus.common.loss_calls import (
    find_bbox_head,
    has_soft_targets,
    listen,
)

WHICH = (
    'heads of one-stage detectors work whose `loss_cls` takes logits, a label '
    'for each anchor and weights: RetinaHead, RetinaPlusHead, ATSSHead, '
    'FCOSHead and the like'
)


class Anchors(NamedTuple):
    """Those that a loss counts.

    Attributes:
        logits: Shape (N, C), with a softmax (N, C + 1).
        labels: Shape (N,), background is C.
    """

    logits: Tensor
    labels: Tensor


def classifier(model: nn.Module) -> tuple[nn.Module, bool]:
    """Classification loss of a detector, and whether on sigmoids.

    Raises:
        ValueError: It has none that is called as RetinaNet's.
    """
    head = find_bbox_head(model)
    loss = getattr(head, 'loss_cls', None)
    fits = isinstance(model, SingleStageDetector) and hasattr(head, 'loss')
    if not fits or not isinstance(loss, nn.Module):
        raise ValueError(
            f'{type(model).__name__} has no bbox_head.loss_cls of a dense '
            f'head: {WHICH}'
        )
    if has_soft_targets(loss):
        raise other_targets(loss)
    # What the loss does counts, also where mmdet's head was not told.
    by_head = getattr(head, 'use_sigmoid_cls', False)
    return loss, bool(getattr(loss, 'use_sigmoid', by_head))


def other_targets(loss: nn.Module) -> ValueError:
    return ValueError(
        f'{type(loss).__name__} is called with other targets than labels: '
        f'{WHICH}'
    )


def seen_by_loss(
    model: nn.Module, images: Tensor, samples: list
) -> list[Anchors]:
    """Anchors that the classification loss of a detector counts in a batch.

    The box head's loss is computed for that; masks and pixels of other heads
    are not asked for.

    Args:
        model: A single-stage detector, best in evaluation mode.
        images: Shape (N, 3, H, W), with `samples` as the preprocessor of the
            data leaves them.

    Returns:
        One item for each call; mmdet's heads call once for each level.

    Raises:
        ValueError: The loss takes something else, or logits are not finite.
    """
    loss, use_sigmoid = classifier(model)
    head: Any = model.bbox_head
    with captured(loss, head.num_classes, use_sigmoid) as calls:
        levels = model.extract_feat(images)  # type: ignore[operator]
        head.loss(levels[getattr(model, 'bbox_start_level', 0) :], samples)
    if not calls:
        raise ValueError(
            f'{type(head).__name__} does not call its loss_cls: {WHICH}'
        )
    return calls


@contextmanager
def captured(
    loss: nn.Module, num_classes: int, use_sigmoid: bool
) -> Iterator[list[Anchors]]:
    """Collect the anchors of all calls of a loss, within a `with`."""
    calls: list[Anchors] = []

    def take(logits: Any, labels: Any, weight: Tensor | None) -> None:
        check_call(loss, logits, labels, num_classes, use_sigmoid)
        calls.append(keep_weighted(logits, labels, weight))

    handle = listen(loss, take)
    try:
        yield calls
    finally:
        handle.remove()


def keep_weighted(
    logits: Tensor, labels: Tensor, weight: Tensor | None
) -> Anchors:
    """Anchors with a weight above zero, in any of their classes."""
    # Below zero are those that mmdet's cross entropy ignores.
    keep = labels >= 0
    if weight is not None:
        keep &= (weight.reshape(len(labels), -1) > 0).any(dim=1)
    return Anchors(logits[keep], labels[keep])


def check_call(
    loss: nn.Module,
    logits: Any,
    labels: Any,
    num_classes: int,
    use_sigmoid: bool,
) -> None:
    """Refuse what is not a row of logits and a label for each anchor.

    Raises:
        ValueError: With the fix.
    """
    name = type(loss).__name__
    labelled = (
        isinstance(labels, Tensor)
        and labels.dim() == 1
        and not labels.is_floating_point()
        and isinstance(logits, Tensor)
        and logits.shape[:-1] == labels.shape
    )
    if not labelled:
        raise other_targets(loss)
    channels = num_classes + (not use_sigmoid)
    if logits.size(1) != channels:
        raise ValueError(
            f'{name} gets {logits.size(1)} logits for {num_classes} classes '
            f'instead of {channels}: say use_sigmoid={use_sigmoid} in the '
            "config's loss_cls"
        )
    if not logits.isfinite().all():
        raise ValueError(
            'The logits are not finite: the checkpoint is broken or its '
            'training diverged, then take an earlier one; or the image holds '
            'NaN'
        )

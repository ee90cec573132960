"""Anchors that a dense head's classification loss counts."""

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
    'use a head of a one-stage detector whose `loss_cls` takes logits, a '
    'label per anchor and weights, such as RetinaHead, RetinaPlusHead, '
    'ATSSHead or FCOSHead'
)


class Anchors(NamedTuple):
    """Anchors that a loss counts.

    Attributes:
        logits: Shape (N, C), for a softmax (N, C + 1).
        labels: Shape (N,), background is C.
    """

    logits: Tensor
    labels: Tensor


def classifier(model: nn.Module) -> tuple[nn.Module, bool]:
    """Classification loss of a detector, and whether it uses a sigmoid.

    Raises:
        ValueError: The detector has no loss that is called like RetinaNet's.
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
    # The loss decides, even if the head's setting differs.
    by_head = getattr(head, 'use_sigmoid_cls', False)
    return loss, bool(getattr(loss, 'use_sigmoid', by_head))


def other_targets(loss: nn.Module) -> ValueError:
    return ValueError(
        f'{type(loss).__name__} is called with targets other than labels: '
        f'{WHICH}'
    )


def seen_by_loss(
    model: nn.Module, images: Tensor, samples: list
) -> list[Anchors]:
    """Collect the anchors that a detector's classification loss counts.

    Only the box head's loss is computed, not those of other heads.

    Args:
        model: A single-stage detector, preferably in evaluation mode.
        images: Shape (N, 3, H, W), from the data preprocessor.
        samples: Data samples of the images, from the data preprocessor.

    Returns:
        One item per call of the loss; mmdet's heads call once per level.

    Raises:
        ValueError: The loss has other arguments, or logits are not finite.
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
    """Collect the anchors of all calls of a loss during a `with` block."""
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
    """Keep anchors with a weight above zero in any class."""
    # mmdet's cross entropy ignores labels below zero.
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
    """Check that there are a row of logits and a label per anchor.

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
            f'instead of {channels}: set use_sigmoid={use_sigmoid} in the '
            "config's loss_cls"
        )
    if not logits.isfinite().all():
        raise ValueError(
            'The logits are not finite: the checkpoint is broken, training '
            'diverged (use an earlier checkpoint), or the image contains NaN'
        )

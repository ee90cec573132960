"""Read YOLOV3Head: the targets of its objectness."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmdet_retina_plus.common.loss_calls import listen

from .assignment import (
    IGNORED,
    NEGATIVE,
    POSITIVE,
    Assignment,
    centres_of,
    level_numbers,
)
from .read_labels import strides_of
from .watching import watched


def read_yolo(
    head: Any, features: Sequence[Tensor], samples: list
) -> Assignment:
    """Read the assignment of an image from the loss of the objectness.

    Priors of weight 0 are ignored.

    Args:
        head: Head of a detector in training mode.
        features: Output of the neck for one image.
        samples: One, as the data preprocessor leaves it.
    """
    counted: list[tuple[Tensor, Tensor, Tensor]] = []

    def take(logits: Tensor, targets: Tensor, weight: Tensor | None) -> None:
        if weight is None:
            weight = torch.ones_like(targets)
        counted.append((logits.flatten(), targets.flatten(), weight.flatten()))

    handle = listen(head.loss_conf, take)
    try:
        with (
            watched(head, 'get_targets') as called,
            watched(head.sampler, 'sample') as sampled,
        ):
            head.loss(features, samples)
    finally:
        handle.remove()
    logits, targets, weights = (
        torch.cat(parts).detach().cpu() for parts in zip(*counted, strict=True)
    )
    (levels,) = called[0].arguments['anchor_list']
    sampling = sampled[0].result
    numbers = torch.full(targets.shape, -1)
    numbers[sampling.pos_inds.cpu()] = sampling.pos_assigned_gt_inds.cpu()
    is_object, weighted = targets > 0, weights > 0
    states = torch.full_like(numbers, IGNORED)
    states[weighted & ~is_object] = NEGATIVE
    states[weighted & is_object] = POSITIVE
    positives = (weighted & is_object).nonzero().flatten()
    boxes = torch.cat(levels).cpu().numpy()
    return Assignment(
        strides=strides_of(head),
        levels=level_numbers([len(level) for level in levels]),
        centres=centres_of(boxes),
        boxes=boxes,
        states=states.numpy(),
        priors=positives.numpy(),
        objects=numbers[positives].numpy(),
        weights=torch.ones(len(positives)).numpy(),
        scores=logits.sigmoid().float().numpy(),
    )

"""Soft quantities of heads as maps over the image, a row of levels each."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from mmdet.models import ATSSHead, CenterNetHead, FCOSHead, GARetinaHead
from torch import Tensor, nn

from mmdet_retina_plus.heads import SAPDHead
from mmdet_retina_plus.necks import ASFF

from .assignment import Assignment


class SoftMap(NamedTuple):
    """One quantity on one level.

    Attributes:
        title: Quantity and level.
        values: 0 to 1, shape (H, W).
    """

    title: str
    values: np.ndarray


def soft_maps(
    head: Any,
    features: Sequence[Tensor],
    sample: Any,
    assignment: Assignment,
    trained: bool,
) -> list[list[SoftMap]]:
    """Maps of a head for one image, a row per quantity.

    Args:
        head: Head of a detector.
        features: Output of the neck for one image.
        sample: Data sample from the data preprocessor.
        assignment: The head's assignment of the image.
        trained: Whether predictions are meaningful; if not, only targets.

    Returns:
        Predicted centreness of ATSSHead and FCOSHead; weights of SAPDHead's
        positives; target and prediction of CenterNetHead's heat map and
        GARetinaHead's location; none for other heads.
    """
    truth = sample.gt_instances
    maps: list[list[SoftMap]] = []
    if isinstance(head, ATSSHead | FCOSHead) and trained:
        maps = [of_levels('centreness', sigmoids(head(features)[2]))]
    elif isinstance(head, SAPDHead) and trained:
        sizes = [(level.size(2), level.size(3)) for level in features]
        maps = [of_levels('weight', weights_of_levels(assignment, sizes))]
    elif isinstance(head, GARetinaHead):
        located = head(features)[3]
        sizes = [level.shape[-2:] for level in located]
        targets, weights, _ = head.ga_loc_targets([truth], sizes)
        # A ring of weight 0 separates positives from negatives.
        shown = [
            target.where(weight > 0, 0.5)
            for target, weight in zip(targets, weights, strict=True)
        ]
        maps = [of_levels('location target', shown)]
        if trained:
            maps.append(of_levels('predicted location', sigmoids(located)))
    elif isinstance(head, CenterNetHead):
        (heat,) = head(features)[0]
        targets, _ = head.get_targets(
            [truth.bboxes],
            [truth.labels],
            heat.shape,
            sample.batch_input_shape,
        )
        maps = [of_levels('target', [targets['center_heatmap_target']])]
        if trained:
            maps[0] += of_levels('predicted', [heat])
    return maps


def weights_of_levels(
    assignment: Assignment, sizes: Sequence[tuple[int, int]]
) -> list[Tensor]:
    """Weight of each point as a positive, (1, 1, H, W) per level."""
    weights = torch.zeros(len(assignment.levels))
    weights[assignment.priors] = torch.from_numpy(assignment.weights)
    levels = weights.split([height * width for height, width in sizes])
    return [
        level.view(1, 1, *size)
        for level, size in zip(levels, sizes, strict=True)
    ]


@contextmanager
def watched_fusion(model: nn.Module) -> Iterator[list[list[SoftMap]]]:
    """Record the weights with which ASFF mixes levels, in a `with` block.

    Rows are the outputs, columns the inputs.
    """
    maps: list[list[SoftMap]] = []

    def watch(fusion: Any, inputs: tuple) -> None:
        for output, weights in enumerate(fusion.level_weights(*inputs)):
            maps.append(
                [
                    SoftMap(
                        f'output {output + 1}: weight of input {source + 1}',
                        values.detach().float().cpu().numpy(),
                    )
                    for source, values in enumerate(weights[0])
                ]
            )

    handles = [
        module.register_forward_pre_hook(watch)
        for module in model.modules()
        if isinstance(module, ASFF)
    ]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def sigmoids(levels: Sequence[Tensor]) -> list[Tensor]:
    return [level.sigmoid() for level in levels]


def of_levels(name: str, levels: Sequence[Tensor]) -> list[SoftMap]:
    """Maximum over channels for one image, given (1, C, H, W) per level."""
    several = len(levels) > 1
    return [
        SoftMap(
            f'{name}, level {number + 1}' if several else name,
            level[0].detach().float().amax(dim=0).cpu().numpy(),
        )
        for number, level in enumerate(levels)
    ]

"""Soft quantities of heads as maps over the image, one per level."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from mmdet.models import ATSSHead, CenterNetHead, FCOSHead, GARetinaHead
from torch import Tensor, nn

from mmdet_retina_plus.necks import ASFF

MOST_FUSED = 3
"""Maximum number of fused levels for which all weights are shown."""


class SoftMap(NamedTuple):
    """One quantity on one level.

    Attributes:
        title: Quantity and level.
        values: 0 to 1, shape (H, W).
    """

    title: str
    values: np.ndarray


def soft_maps(
    head: Any, features: Sequence[Tensor], sample: Any, trained: bool
) -> list[SoftMap]:
    """Maps of a head for one image.

    Args:
        head: Head of a detector.
        features: Output of the neck for one image.
        sample: Data sample from the data preprocessor.
        trained: Whether predictions are meaningful; if not, only targets.

    Returns:
        Predicted centreness of ATSSHead and FCOSHead; target and prediction of
        CenterNetHead's heat map and GARetinaHead's location; none for other
        heads. SAPDHead's weights are those of its positives.
    """
    truth = sample.gt_instances
    maps: list[SoftMap] = []
    if isinstance(head, ATSSHead | FCOSHead) and trained:
        maps = of_levels('centreness', sigmoids(head(features)[2]))
    elif isinstance(head, GARetinaHead):
        located = head(features)[3]
        sizes = [level.shape[-2:] for level in located]
        targets, weights, _ = head.ga_loc_targets([truth], sizes)
        # A ring of weight 0 separates positives from negatives.
        shown = [
            target.where(weight > 0, 0.5)
            for target, weight in zip(targets, weights, strict=True)
        ]
        maps = of_levels('location target', shown)
        if trained:
            maps += of_levels('predicted location', sigmoids(located))
    elif isinstance(head, CenterNetHead):
        (heat,) = head(features)[0]
        targets, _ = head.get_targets(
            [truth.bboxes],
            [truth.labels],
            heat.shape,
            sample.batch_input_shape,
        )
        maps = of_levels('target', [targets['center_heatmap_target']])
        if trained:
            maps += of_levels('predicted', [heat])
    return maps


@contextmanager
def watched_fusion(model: nn.Module) -> Iterator[list[SoftMap]]:
    """Record the weights with which ASFF mixes levels, in a `with` block.

    Up to three levels record all weights. More levels record only the weight
    of each output's own level.
    """
    maps: list[SoftMap] = []

    def watch(fusion: Any, inputs: tuple) -> None:
        weights = fusion.level_weights(*inputs)
        for level, item in enumerate(weights):
            count = item.size(1)
            sources = range(count) if count <= MOST_FUSED else (level,)
            maps.extend(
                SoftMap(
                    f'output {level + 1}: weight of input {source + 1}',
                    item[0, source].detach().float().cpu().numpy(),
                )
                for source in sources
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

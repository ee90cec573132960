"""Read SAPDHead: points with soft weights on every level."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmdet_retina_plus.heads.anchor_points import centrality, side_distances
from mmdet_retina_plus.heads.retina_plus_head import join_levels

from .assignment import (
    IGNORED,
    NEGATIVE,
    POSITIVE,
    Assignment,
    level_numbers,
)
from .watching import watched


def read_sapd(
    head: Any, features: Sequence[Tensor], samples: list
) -> Assignment:
    """Read the assignment of an image; positives of weight 0 are ignored.

    A point's weight is its centrality times the weight of its level.

    Args:
        head: Head of a detector in training mode.
        features: Output of the neck for one image.
        samples: One, as the data preprocessor leaves it.
    """
    with (
        watched(head, 'get_targets') as called,
        watched(head, 'weigh_levels') as weighed,
        watched(head, 'loss_by_feat') as losses,
    ):
        head.loss(features, samples)
    logits = losses[0].arguments['cls_scores']
    sizes = [(level.size(2), level.size(3)) for level in logits]
    targets, level_weights = called[0].result, weighed[0].result
    boxes = samples[0].gt_instances.bboxes
    points = head.points_of(targets, sizes, boxes)
    weights = centrality(side_distances(points, boxes[targets.gts]), head.eta)
    weights = weights * level_weights[targets.gts, targets.levels]
    scores = join_levels(logits, head.cls_out_channels)[0].sigmoid()
    states = torch.full((len(scores),), NEGATIVE, device=boxes.device)
    states[targets.points] = IGNORED
    kept = weights > 0
    states[targets.points[kept]] = POSITIVE
    grid = head.prior_generator.grid_priors(sizes, device=boxes.device)
    priors, objects, weights = (
        part[kept].detach().cpu().numpy()
        for part in (targets.points, targets.gts, weights)
    )
    return Assignment(
        strides=[float(stride) for stride in head.strides],
        levels=level_numbers([len(level) for level in grid]),
        centres=torch.cat(grid).cpu().numpy(),
        boxes=None,
        states=states.cpu().numpy(),
        priors=priors,
        objects=objects,
        weights=weights,
        scores=scores.amax(dim=1).detach().float().cpu().numpy(),
    )

"""YOLOv3's assignment: one positive per object, chosen by shape.

YOLOv3: https://arxiv.org/abs/1804.02767; details follow darknet.
"""

from collections.abc import Sequence

import torch
from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_retina_plus.kernels import overlap_matching
from mmdet_retina_plus.kernels.boxes import centres_of

from .assign_io import assigned_overlaps, read_inputs, to_result
from .prior_levels import Grid, grids, level_sizes


@TASK_UTILS.register_module()
class BestPriorAssigner(BaseAssigner):
    """Assign each ground truth to the prior of best shape at its centre.

    The shape of a prior is its width and height. For each ground truth, the
    shape of highest IoU over all levels wins, computed with both boxes moved
    to the same centre; on ties the first. Among the priors of this shape the
    one at the centre of the ground truth is positive: that of its cell, or
    the nearest where priors lie on cell corners. Centres outside the feature
    map are clamped to the border cells.

    There is no threshold: every ground truth gets exactly one positive, unless
    a later one of the same shape and cell overwrites it or its area is 0. All
    other priors are background. The mining policy ``PredictedIoUIgnore``
    ignores some of them as YOLOv3 does.

    Memory grows with the number of priors, not with that of objects. Reading
    the number of shapes and the width of each level off the priors
    synchronises a GPU, once per image.

    Args:
        ignore_iof_thr: Ignore negatives of which more than this share lies in
            an ignore region; off unless above 0.
    """

    takes_num_level_priors = True
    """Read by ``RetinaPlusHead``, which then passes ``num_level_priors``."""

    def __init__(self, ignore_iof_thr: float = -1) -> None:
        self.ignore_iof_thr = ignore_iof_thr

    @torch.no_grad()
    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        num_level_priors: Sequence[int] | None = None,
        **kwargs,
    ) -> AssignResult:
        """Assign each prior to a ground truth, the background or neither.

        Args:
            pred_instances: With ``priors``, shape (N, 4): levels in any
                order, each row by row with all shapes at each location.
            gt_instances: With ``bboxes``, shape (G, 4), and ``labels``, (G,).
            gt_instances_ignore: With ``bboxes``, shape (R, 4).
            num_level_priors: Number of priors of each level. If None, it is
                read off the priors, which must then run from fine to coarse
                levels.
            kwargs: Not used.

        Returns:
            ``gt_inds`` holds 1-based indices, 0 for background, -1 for
            ignored; ``max_overlaps`` the ordinary IoU with the assigned
            ground truth, or the best IoU where there is none; ``labels`` -1
            for all that is not positive. Each of shape (N,).

        Raises:
            ValueError: The levels do not add up to the priors, cannot be read
                off them or are not grids. A box on the CPU is not finite; on
                a GPU such a box gets no prior.
        """
        inputs = read_inputs(
            pred_instances, gt_instances, gt_instances_ignore, num_level_priors
        )
        priors = overlap_matching.finite_coordinates(
            inputs.priors.float(), 'Priors'
        )
        gts = overlap_matching.finite_coordinates(
            inputs.gt_bboxes.float(), 'Ground truths'
        )
        ignored = overlap_matching.in_regions(
            priors, inputs.regions, self.ignore_iof_thr
        )
        gt_inds = -ignored.long()
        overlaps = torch.zeros_like(priors[0])
        if priors.size(1) and gts.size(1):
            boxes = priors[:4].t()
            sizes = inputs.num_level_priors or level_sizes(boxes)
            chosen = best_priors(gts, grids(boxes, sizes), len(boxes))
            # The extra entry collects ground truths without a prior.
            owner = gt_inds.new_zeros(len(boxes) + 1)
            order = torch.arange(1, len(chosen) + 1, device=chosen.device)
            owner.scatter_reduce_(0, chosen, order, 'amax')
            gt_inds = torch.where(owner[:-1] > 0, owner[:-1], gt_inds)
            overlaps = assigned_overlaps(gts, priors, gt_inds)
        return to_result(gt_inds, overlaps, inputs.gt_labels)


def best_priors(gts: Tensor, levels: Sequence[Grid], nowhere: int) -> Tensor:
    """Index of the prior of each ground truth, shape (G,).

    Args:
        gts: Coordinates (5, G).
        levels: Grids of all levels.
        nowhere: Index returned for ground truths of area 0.
    """
    shapes = torch.cat([level.shapes for level in levels]).t()
    sizes = (gts[2:4] - gts[:2]).clamp(min=0)
    fit = shape_iou(sizes[:, None], shapes[..., None])
    best, which = fit.max(dim=0)
    centres = centres_of(gts)
    priors = torch.cat([level.nearest(centres) for level in levels])
    chosen = priors.gather(0, which[None])[0]
    return torch.where(best > 0, chosen, nowhere)


def shape_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU of concentric boxes, from broadcastable sizes (2, ...)."""
    shared = torch.minimum(first, second).prod(dim=0)
    return shared / (first.prod(dim=0) + second.prod(dim=0) - shared)

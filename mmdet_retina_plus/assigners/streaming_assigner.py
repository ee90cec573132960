"""Base class of assigners that choose one ground truth per prior."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_retina_plus.kernels import overlap_matching

from .assign_io import (
    Inputs,
    Levels,
    assigned_overlaps,
    read_inputs,
    to_result,
)
from .prior_levels import level_sizes


class StreamingAssigner(BaseAssigner):
    """Assign priors level by level, without a matrix of objects and priors.

    Args:
        ignore_iof_thr: Ignore priors of which more than this fraction lies in
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
        featmap_sizes: Sequence[tuple[int, int]] | None = None,
        **kwargs,
    ) -> AssignResult:
        """Assign each prior to a ground truth, the background or neither.

        Also accepts ATSSHead's order of arguments, with the list as second
        argument.

        Args:
            pred_instances: With ``priors``, shape (N, 4).
            gt_instances: With ``bboxes``, shape (G, 4), and ``labels``, (G,).
            gt_instances_ignore: With ``bboxes``, shape (R, 4).
            num_level_priors: Number of priors of each level. If None, as under
                mmdet's RetinaHead, it is read from the priors, which must be a
                complete pyramid from fine to coarse levels.
            featmap_sizes: Rows and columns of each level, for complete levels.
                If None, an assigner that needs them reads them from the
                priors.
            kwargs: Not used.

        Returns:
            ``gt_inds`` holds 1-based indices, 0 for background, -1 for
            ignored; ``max_overlaps`` the IoU with the assigned ground truth,
            or the best IoU where there is none; ``labels`` -1 for all that is
            not positive. Each of shape (N,).

        Raises:
            ValueError: The levels do not add up to the priors, cannot be read
                from them or do not fit the assigner; or a box on the CPU is
                not finite. On a GPU such a box gets no prior.
        """
        return self._assign(
            read_inputs(
                pred_instances,
                gt_instances,
                gt_instances_ignore,
                num_level_priors,
            )._replace(featmap_sizes=featmap_sizes)
        )

    def _assign(self, inputs: Inputs) -> AssignResult:
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
            sizes = inputs.num_level_priors or level_sizes(inputs.priors)
            owners = self._owners(
                gts, priors, ignored, Levels(sizes, inputs.featmap_sizes)
            )
            gt_inds = torch.where(owners > 0, owners, gt_inds)
            overlaps = assigned_overlaps(gts, priors, gt_inds)
        return to_result(gt_inds, overlaps, inputs.gt_labels)

    @abstractmethod
    def _owners(
        self,
        gts: Tensor,
        priors: Tensor,
        ignored: Tensor,
        levels: Levels,
    ) -> Tensor:
        """1-based ground truth of each positive prior, 0 for others, (N,).

        Args:
            gts: Coordinates (5, G), G > 0.
            priors: Coordinates (5, N), N > 0.
            ignored: Flags (N,) of the priors in ignore regions.
            levels: Levels of the priors.
        """

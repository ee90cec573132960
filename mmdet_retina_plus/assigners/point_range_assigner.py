"""FCOS's rule for any prior with a centre.

FCOS: https://arxiv.org/abs/1904.01355. ATSS, https://arxiv.org/abs/1912.02424,
gives it to RetinaNet with one square anchor a location.
"""

import math
from collections.abc import Sequence

import torch
from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_retina_plus.kernels import overlap_matching
from mmdet_retina_plus.kernels.boxes import centres_of

from .assign_io import assigned_overlaps, read_inputs, to_result
from .prior_levels import level_sizes

RANGES = ((-1, 64), (64, 128), (128, 256), (256, 512), (512, math.inf))
STRIDES = (8, 16, 32, 64, 128)


@TASK_UTILS.register_module()
class PointRangeAssigner(BaseAssigner):
    """Assign priors by where their centres lie and by the objects' size.

    A prior is positive for the ground truths that have its centre inside, if
    the farthest of their four sides is as far from it as its level's range
    allows, both ends included. Of several the smallest in area has it, then
    the first. The rest is background. All priors of a location are assigned
    alike.

    The targets are those of mmdet's FCOSHead, but for ground truths of 10^8
    square pixels or more, which it never assigns.

    Memory grows with the number of priors, not with that of objects. On a GPU
    nothing waits for the host if ``num_level_priors`` is given, and launches
    come per block of objects.

    Args:
        regress_ranges: Least and largest distance of each level, in pixels,
            from fine to coarse.
        center_sample_radius: A centre must lie within so many strides of the
            ground truth's centre, on both axes, as well; None: anywhere
            inside.
        strides: Of each level, in pixels. Only the radius needs them.
        ignore_iof_thr: Ignore priors of which more than this share lies in an
            ignore region; off unless above 0.

    Raises:
        ValueError: A range is empty, a radius is not above 0, or there are
            not as many strides as ranges.
    """

    takes_num_level_priors = True
    """Read by ``RetinaPlusHead``, which then passes ``num_level_priors``."""

    def __init__(
        self,
        regress_ranges: Sequence[tuple[float, float]] = RANGES,
        center_sample_radius: float | None = None,
        strides: Sequence[float] = STRIDES,
        ignore_iof_thr: float = -1,
    ) -> None:
        if not all(low < high for low, high in regress_ranges):
            raise ValueError(
                'regress_ranges must be pairs of a lower and a higher '
                f'distance, not {regress_ranges}'
            )
        if center_sample_radius is not None and center_sample_radius <= 0:
            raise ValueError(
                f'center_sample_radius is {center_sample_radius}: use one '
                'above 0, or None for the whole box'
            )
        if len(strides) != len(regress_ranges):
            raise ValueError(
                f'{len(strides)} strides for {len(regress_ranges)} '
                'regress_ranges: give one of each for every level'
            )
        self.levels = [tuple(pair) for pair in regress_ranges]
        if center_sample_radius is not None:
            self.levels = [
                (*pair, center_sample_radius * stride)
                for pair, stride in zip(self.levels, strides, strict=True)
            ]
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
            pred_instances: With ``priors``, shape (N, 4), of which the
                centres count.
            gt_instances: With ``bboxes``, shape (G, 4), and ``labels``, (G,).
            gt_instances_ignore: With ``bboxes``, shape (R, 4).
            num_level_priors: Number of priors of each level. Without it they
                are read off the priors, which must be a whole pyramid then.
            kwargs: Not used.

        Returns:
            ``gt_inds`` holds 1-based indices, 0 for background, -1 for
            ignored; ``max_overlaps`` the priors' IoU with the assigned ground
            truth or else the best; ``labels`` -1 for all that is not
            positive. Each of shape (N,).

        Raises:
            ValueError: Levels are not as many as ranges, do not add up to the
                priors or cannot be read off them. A box on the CPU is not
                finite; on a GPU it has no centre inside.
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
            sizes = inputs.num_level_priors or level_sizes(inputs.priors)
            points = self._points(centres_of(priors), sizes)
            # Smallest first, and of equal ones the first.
            by_area = gts[4].argsort(stable=True)
            matches = overlap_matching.match(
                gts[:, by_area], points, wants, ignored
            )
            positive = matches.overlaps > 0
            gt_inds = torch.where(
                positive, by_area[matches.nearest] + 1, gt_inds
            )
            overlaps = assigned_overlaps(gts, priors, gt_inds)
        return to_result(gt_inds, overlaps, inputs.gt_labels)

    def _points(self, centres: Tensor, sizes: Sequence[int]) -> Tensor:
        """Points as boxes without extent, and what their levels allow.

        Args:
            centres: Shape (2, N).
            sizes: Number of priors of each level.

        Returns:
            x, y, x, y, least and largest distance of the farthest side, and
            with a radius the largest to a centre, shape (6 or 7, N).
        """
        if len(sizes) != len(self.levels):
            raise ValueError(
                f'There are {len(sizes)} levels of priors for '
                f'{len(self.levels)} regress_ranges: give one for every level'
            )
        # Filled on the device: a copy from the host would wait for it.
        rules = [
            torch.cat(
                [
                    centres.new_full((1, size), value)
                    for value, size in zip(values, sizes, strict=True)
                ],
                dim=1,
            )
            for values in zip(*self.levels, strict=True)
        ]
        return torch.cat([centres, centres, *rules])


def wants(gts: Tensor, points: Tensor) -> Tensor:
    """1 where a ground truth may have a point, else 0.

    Args:
        gts: Coordinates (5, ...).
        points: As from ``_points``, (6 or 7, ...); both are broadcast.
    """
    places, (least, largest, *radius) = points[:2], points[4:]
    # One side after the other, in place: no more than four tiles are alive.
    nearest = places[0] - gts[0]
    farthest = nearest.clone()
    for first, second in (
        (places[1], gts[1]),
        (gts[2], places[0]),
        (gts[3], places[1]),
    ):
        side = first - second
        torch.minimum(nearest, side, out=nearest)
        torch.maximum(farthest, side, out=farthest)
    inside = (farthest >= least).logical_and_(farthest <= largest)
    for reach in radius:
        for place, centre in zip(places, centres_of(gts), strict=True):
            # FCOS's order of operations, for equal bits.
            for side in (place - (centre - reach), (centre + reach) - place):
                torch.minimum(nearest, side, out=nearest)
    return inside.logical_and_(nearest > 0).to(gts.dtype)

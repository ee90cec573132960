"""FCOS's assignment for any prior that has a centre.

FCOS: https://arxiv.org/abs/1904.01355. ATSS, https://arxiv.org/abs/1912.02424,
applies it to RetinaNet with one square anchor per location.
"""

import math
from collections.abc import Sequence

import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

from mmdet_retina_plus.kernels import overlap_matching
from mmdet_retina_plus.kernels.boxes import centres_of

from .assign_io import Levels
from .streaming_assigner import StreamingAssigner

RANGES = ((-1, 64), (64, 128), (128, 256), (256, 512), (512, math.inf))
STRIDES = (8, 16, 32, 64, 128)


@TASK_UTILS.register_module()
class PointRangeAssigner(StreamingAssigner):
    """Assign priors by the position of their centre and the object size.

    A prior matches a ground truth if its centre lies inside the box and the
    distance to the farthest side is within the range of its level, both
    limits included. A prior that matches several ground truths is assigned to
    the one of smallest area, on ties to the first. All other priors are
    background. Priors at the same location get the same assignment.

    The result equals the targets of mmdet's FCOSHead, except that FCOSHead
    never assigns a ground truth of 10^8 square pixels or more.

    Memory grows with the number of priors, not with that of objects. With
    ``num_level_priors`` a GPU is not synchronised; each block of objects takes
    its own kernel launches.

    Args:
        regress_ranges: Minimum and maximum distance for each level, in
            pixels, from fine to coarse.
        center_sample_radius: If given, the prior's centre must also lie
            within this many strides of the object's centre, along both axes.
        strides: Stride of each level in pixels. Used only with
            ``center_sample_radius``. This package's heads refuse strides that
            differ from those of their priors.
        ignore_iof_thr: See ``StreamingAssigner``.

    Raises:
        ValueError: A range is empty, the radius is not positive, or the
            numbers of strides and ranges differ.
    """

    def __init__(
        self,
        regress_ranges: Sequence[tuple[float, float]] = RANGES,
        center_sample_radius: float | None = None,
        strides: Sequence[float] = STRIDES,
        ignore_iof_thr: float = -1,
    ) -> None:
        super().__init__(ignore_iof_thr)
        if not all(low < high for low, high in regress_ranges):
            raise ValueError(
                'regress_ranges must be pairs (minimum, maximum) with '
                f'minimum < maximum, not {regress_ranges}'
            )
        if center_sample_radius is not None and center_sample_radius <= 0:
            raise ValueError(
                f'center_sample_radius is {center_sample_radius}: use a '
                'positive number, or None for the whole box'
            )
        if len(strides) != len(regress_ranges):
            raise ValueError(
                f'{len(strides)} strides for {len(regress_ranges)} '
                'regress_ranges: pass one of each per level'
            )
        self.levels = [tuple(pair) for pair in regress_ranges]
        self.strides: list[float] | None = None
        if center_sample_radius is not None:
            self.strides = list(strides)
            self.levels = [
                (*pair, center_sample_radius * stride)
                for pair, stride in zip(self.levels, strides, strict=True)
            ]

    def _owners(
        self,
        gts: Tensor,
        priors: Tensor,
        ignored: Tensor,
        levels: Levels,
    ) -> Tensor:
        points = self._points(centres_of(priors), levels.sizes)
        # `match` keeps the first of equal scores: the smallest box.
        by_area = gts[4].argsort(stable=True)
        matches = overlap_matching.match(
            gts[:, by_area], points, match_scores, ignored
        )
        positive = matches.overlaps > 0
        return torch.where(positive, by_area[matches.nearest] + 1, 0)

    def _points(self, centres: Tensor, sizes: Sequence[int]) -> Tensor:
        """Centres as boxes of size zero, with the limits of their levels.

        Args:
            centres: Shape (2, N).
            sizes: Number of priors of each level.

        Returns:
            Rows x, y, x, y, minimum and maximum distance to the farthest
            side and, with a radius, maximum distance to the object's centre;
            shape (6 or 7, N).
        """
        if len(sizes) != len(self.levels):
            raise ValueError(
                f'There are {len(sizes)} levels of priors for '
                f'{len(self.levels)} regress_ranges: pass one per level'
            )
        # Fill on the device: a copy from the host would synchronise.
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


def match_scores(gts: Tensor, points: Tensor) -> Tensor:
    """Score 1 where a point matches a ground truth, else 0.

    Args:
        gts: Coordinates (5, ...).
        points: Output of ``_points``, (6 or 7, ...), broadcastable to
            ``gts``.
    """
    places, (least, largest, *radius) = points[:2], points[4:]
    # One side at a time, in place, to keep few tiles alive.
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
            # FCOS's order of operations, for bit-identical results.
            for side in (place - (centre - reach), (centre + reach) - place):
                torch.minimum(nearest, side, out=nearest)
    return inside.logical_and_(nearest > 0).to(gts.dtype)

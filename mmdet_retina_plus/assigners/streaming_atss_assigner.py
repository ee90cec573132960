"""ATSS without matrices of distances and overlaps.

Adaptive training sample selection: https://arxiv.org/abs/1912.02424
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.registry import TASK_UTILS
from torch import Tensor

from mmdet_retina_plus.kernels import devices, dispatch, overlap_matching
from mmdet_retina_plus.kernels.boxes import LAST, MARGIN, centres_of, iou

from .assign_io import Inputs, Levels
from .nearest_priors import Level, pack, unpack
from .prior_levels import level_sizes, priors_per_location
from .streaming_assigner import StreamingAssigner

# Ground truths per block on a CPU.
CPU_BLOCK = 32
# Rounds for ground truths with fewer than ``min_positives``.
ROUNDS = 4


@TASK_UTILS.register_module()
class StreamingATSSAssigner(StreamingAssigner):
    """ATSS: an adaptive IoU threshold per ground truth.

    The candidates of a ground truth are, on each level, the priors whose
    centres are nearest to its own. A candidate is positive if its IoU reaches
    the mean plus the (unbiased) standard deviation of the IoUs of all
    candidates, and its centre lies inside the ground truth. A prior that is
    positive for several ground truths goes to the one of highest IoU, on ties
    to the first. All other priors are background.

    Bit-identical to mmdet's ATSSAssigner, except:

    - Of equally distant priors the first are candidates, on any device.
    - The standard deviation of a single candidate is 0 instead of NaN.
    - Priors in ignore regions are never positive, and are also ignored in
      images without ground truth. As in mmdet, they are the last candidates.
    - ``max_overlaps`` are IoUs for all priors. In mmdet they are -1e8 for all
      but positives.
    - Boxes of any precision are compared in single precision.

    Memory grows with the number of priors, not with that of objects, except
    that ``min_positives`` keeps the candidates of all objects. With
    ``num_level_priors`` and without ``topk_per_location`` a GPU is not
    synchronised. With Triton, a few kernels process all objects, and the
    candidates of all objects are kept; without Triton, each block of objects
    takes its own kernel launches.

    Args:
        topk: Candidates per level, at most its number of priors.
        topk_per_location: Let ``topk`` count locations instead of priors, as
            in the authors' code: with A priors per location, there are A times
            as many candidates.
        min_positives: A ground truth with fewer positives takes unassigned
            candidates in the order of their IoU, if above 0, regardless of
            threshold and centre. If two ground truths compete for one, the
            above rule decides, and the other takes its next candidate, in up
            to four rounds.
        ignore_iof_thr: Ignore priors of which more than this fraction lies in
            an ignore region; off unless above 0.
    """

    def __init__(
        self,
        topk: int = 9,
        topk_per_location: bool = False,
        min_positives: int = 0,
        ignore_iof_thr: float = -1,
    ) -> None:
        super().__init__(ignore_iof_thr)
        if topk < 1 or min_positives < 0:
            raise ValueError(
                'topk must be at least 1 and min_positives at least 0, not '
                f'{topk} and {min_positives}'
            )
        self.topk = topk
        self.topk_per_location = topk_per_location
        self.min_positives = min_positives

    def _assign(self, inputs: Inputs) -> AssignResult:
        some = len(inputs.priors) and len(inputs.gt_bboxes)
        if some and dispatch.usable(inputs.priors, inputs.gt_bboxes):
            return self._by_kernels(inputs)
        return super()._assign(inputs)

    def _owners(
        self,
        gts: Tensor,
        priors: Tensor,
        ignored: Tensor,
        levels: Levels,
    ) -> Tensor:
        blocks = _candidates(
            gts, priors, ignored, self._levels(priors, ignored, levels.sizes)
        )
        unassigned = torch.zeros_like(ignored, dtype=torch.long)
        winners = _settle(blocks, unassigned, self.min_positives)
        return torch.where(winners > 0, _holders(winners)[1] + 1, 0)

    def _by_kernels(self, inputs: Inputs) -> AssignResult:
        """Assign on a GPU; there is at least one prior and ground truth."""
        from mmdet_retina_plus.kernels import atss, max_iou

        gt_bboxes, priors = inputs.gt_bboxes, inputs.priors
        ignored = None
        if self.ignore_iof_thr > 0 and len(inputs.regions):
            shares, _ = max_iou.best_overlaps(
                inputs.regions, priors, 'iof_prior'
            )
            ignored = shares > self.ignore_iof_thr
        sizes = inputs.num_level_priors or level_sizes(priors)
        *block, winners = atss.find_candidates(
            gt_bboxes, priors, ignored, self._counts(priors, sizes)
        )
        if self.min_positives:
            gt = torch.arange(len(gt_bboxes), device=priors.device)
            winners = _settle(
                [_Candidates(gt, *block)], winners, self.min_positives
            )
        result = atss.resolve(
            gt_bboxes, inputs.gt_labels, priors, ignored, winners
        )
        return AssignResult(len(gt_bboxes), *result)

    def _levels(
        self, priors: Tensor, ignored: Tensor, sizes: Sequence[int]
    ) -> list[tuple[Level, int]]:
        """Levels, each with the number of candidates to take from it."""
        centres = centres_of(priors)
        levels = []
        start = 0
        for size, count in self._counts(priors[:4].t(), sizes):
            part = slice(start, start + size)
            level = Level(centres[:, part], ignored[part], start)
            levels.append((level, count))
            start += size
        return levels

    def _counts(
        self, priors: Tensor, sizes: Sequence[int]
    ) -> list[tuple[int, int]]:
        """Sizes and numbers of candidates of all non-empty levels.

        Args:
            priors: Shape (N, 4).
            sizes: Number of priors of each level.
        """
        sizes = [size for size in sizes if size]
        per_location = [1] * len(sizes)
        if self.topk_per_location:
            per_location = priors_per_location(priors, sizes)
        return [
            (size, min(self.topk * factor, size))
            for size, factor in zip(sizes, per_location, strict=True)
        ]


class _Candidates(NamedTuple):
    """Candidates of some ground truths.

    Attributes:
        gt: Index of the ground truth, shape (B,).
        prior: Index of the prior, shape (K, B).
        overlap: Their IoU, 0 in an ignore region, shape (K, B).
        positive: Whether the prior passes the threshold, shape (K, B).
    """

    gt: Tensor
    prior: Tensor
    overlap: Tensor
    positive: Tensor

    def enter(self, winners: Tensor, wanted: Tensor) -> None:
        """Update ``winners`` with the ``wanted`` candidates.

        Args:
            winners: The highest IoU of each prior and, in reverse order, the
                first ground truth, packed; 0 for none, shape (N,).
            wanted: Flags of candidates, shape (K, B).
        """
        keys = pack(self.overlap, LAST - self.gt).mul_(wanted)
        winners.scatter_reduce_(
            0, self.prior.flatten(), keys.flatten(), 'amax'
        )


def _holders(winners: Tensor) -> tuple[Tensor, Tensor]:
    """Unpack IoU and ground truth of each prior, arbitrary if it has none."""
    overlap, order = unpack(winners)
    return overlap, LAST - order


def _candidates(
    gts: Tensor,
    priors: Tensor,
    ignored: Tensor,
    levels: Sequence[tuple[Level, int]],
) -> Iterator[_Candidates]:
    """Yield the candidates of all ground truths in blocks.

    Args:
        gts: Coordinates (5, G).
        priors: Coordinates (5, N).
        ignored: Flags (N,).
        levels: Levels and their numbers of candidates.
    """
    at_once = CPU_BLOCK
    if not devices.may_wait(gts.device):
        at_once = overlap_matching.rows_per_launch(priors.size(1))
    centres, gt_centres = centres_of(priors), centres_of(gts)
    ids = torch.arange(gts.size(1), device=gts.device)
    for gt in ids.split(at_once):
        prior = torch.cat(
            [level.nearest(gt_centres[:, gt], k) for level, k in levels]
        )
        boxes, allowed = gts[:, None, gt], ~ignored[prior]
        overlap = iou(priors[:, prior], boxes)
        # The order of a sum depends on the block. If all overlaps are equal,
        # the last bit of single precision would decide.
        precise = overlap.double()
        threshold = precise.mean(dim=0)
        if len(prior) > 1:
            threshold += precise.std(dim=0)
        centre = centres[:, prior]
        depth = torch.minimum(centre - boxes[:2], boxes[2:4] - centre).amin(
            dim=0
        )
        high = overlap >= threshold.to(overlap.dtype)
        positive = high & (depth > MARGIN) & allowed
        # Empty boxes may have an IoU of -0, which would not pack.
        yield _Candidates(gt, prior, overlap.abs_().mul_(allowed), positive)


def _settle(
    blocks: Iterable[_Candidates], winners: Tensor, min_positives: int
) -> Tensor:
    """Run one round over all ground truths and return the winners (N,).

    Args:
        blocks: Candidates of all ground truths, in blocks.
        winners: Zeros (N,), or those of the round before.
        min_positives: Ground truths with fewer take unassigned candidates.
    """
    kept = []
    for block in blocks:
        block.enter(winners, block.positive)
        if min_positives:
            kept.append(block)
    for _ in range(ROUNDS if kept else 0):
        extra = torch.zeros_like(winners)
        holder = _holders(winners)[1]
        for block in kept:
            missing = min_positives - (holder[block.prior] == block.gt).sum(0)
            free = (winners[block.prior] == 0) & (block.overlap > 0)
            best_first = (block.overlap * free).argsort(
                dim=0, descending=True, stable=True
            )
            rank = best_first.argsort(dim=0)
            block.enter(extra, free & (rank < missing))
        winners = torch.where(winners > 0, winners, extra)
    return winners

"""IoU-balanced sampling of negatives.

Libra R-CNN: https://arxiv.org/abs/1904.02701, section 3.1
"""

import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.samplers import IoUBalancedNegSampler
from mmdet.registry import TASK_UTILS
from torch import Tensor


@TASK_UTILS.register_module()
class LibraNegSampler(IoUBalancedNegSampler):
    """Sample negatives uniformly over their best IoU with an object.

    The IoU range of the negatives is split into ``num_bins`` bins of equal
    width. The same number is drawn from each bin at random; if a bin has
    fewer, the remainder is drawn at random from all others. It corrects three
    defects of mmdet's IoUBalancedNegSampler:

    - The last bin excludes its upper limit, so that the negative of highest
      IoU is never drawn.
    - The first call changes ``floor_thr`` from -1 to 0, after which negatives
      of IoU 0 are never drawn.
    - The range ends at the highest IoU of all priors. With positives among
      them the last bins hold no negatives.

    Use it as ``neg_sampler`` of mmdet's CombinedSampler or by itself, in a
    dense head with ``add_gt_as_proposals=False``. As with every sampler of
    mmdet, losses are divided by the number of sampled positives and
    negatives.

    Args:
        num: Number of priors to sample.
        pos_fraction: Maximum fraction of positives.
        floor_thr: Draw negatives below this IoU separately, or those of IoU 0
            if it is 0; -1 draws all from the bins.
        floor_fraction: Fraction of the negatives to draw below ``floor_thr``.
        num_bins: Number of bins above ``floor_thr``.
        kwargs: Arguments of RandomSampler.
    """

    def _sample_neg(
        self, assign_result: AssignResult, num_expected: int, **kwargs
    ) -> Tensor:
        negatives = (assign_result.gt_inds == 0).nonzero().squeeze(1)
        overlaps = assign_result.max_overlaps[negatives]
        low = overlaps < self.floor_thr
        if self.floor_thr == 0:
            low = overlaps == 0
        above, floor = (~low).nonzero().squeeze(1), low.nonzero().squeeze(1)
        bins = iou_bins(overlaps[above], max(self.floor_thr, 0), self.num_bins)
        share = int(num_expected * (1 - self.floor_fraction))
        drawn = above[draw_evenly(bins, self.num_bins, share)]
        # Fill up from below the floor first, then from all others.
        rest = torch.ones_like(low).index_fill(0, drawn, False)
        floor = floor[torch.randperm(len(floor), device=floor.device)]
        floor = floor[: num_expected - len(drawn)]
        rest = rest.index_fill(0, floor, False).nonzero().squeeze(1)
        rest = rest[torch.randperm(len(rest), device=rest.device)]
        drawn = torch.cat([drawn, floor, rest])[:num_expected]
        return negatives[drawn]


def iou_bins(overlaps: Tensor, low: float, num_bins: int) -> Tensor:
    """Compute the bin of each IoU between ``low`` and the highest, (N,).

    Args:
        overlaps: At least ``low``, shape (N,).
        low: Lower limit of the first bin.
        num_bins: Number of bins of equal width. The last one includes its
            upper limit.
    """
    if not len(overlaps):
        return overlaps.long()
    above = overlaps - low
    # If all are equal, they are in the first bin.
    share = above / above.max().clamp(min=torch.finfo(above.dtype).tiny)
    return (share * num_bins).long().clamp(max=num_bins - 1)


def draw_evenly(bins: Tensor, num_bins: int, wanted: int) -> Tensor:
    """Draw indices at random, the same number from each bin, then the rest.

    Args:
        bins: Bin of each candidate, shape (N,).
        num_bins: Number of bins. Some may be empty.
        wanted: Number of indices, fewer if there are fewer candidates.
    """
    shuffled = torch.randperm(len(bins), device=bins.device)
    by_bin = shuffled[bins[shuffled].argsort(stable=True)]
    counts = bins.bincount(minlength=num_bins)
    starts = counts.cumsum(0) - counts
    rank = torch.arange(len(bins), device=bins.device) - starts[bins[by_bin]]
    first = rank < wanted // num_bins
    even, rest = by_bin[first], by_bin[~first]
    rest = rest[torch.randperm(len(rest), device=rest.device)]
    return torch.cat([even, rest])[:wanted]

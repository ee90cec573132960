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
    """Draw negatives evenly over their IoU with the nearest object.

    The range of the negatives' IoUs is split into ``num_bins`` equal parts,
    each gives an equal share at random, and what a part lacks comes from the
    rest at random. mmdet's IoUBalancedNegSampler differs in three points:

    - It never draws the highest IoU; here the last part includes its end.
    - It sets its own ``floor_thr`` from -1 to 0 in the first call, so that no
      negative of IoU 0 is drawn after that; here they belong to the first
      part in every call.
    - Its range ends with the highest IoU of any prior, positives included,
      where a dense head has no negatives; here with that of the negatives.

    It is the ``neg_sampler`` of mmdet's CombinedSampler, or a sampler of its
    own. On a dense head it needs ``add_gt_as_proposals=False``. As with all
    samplers of mmdet the losses are divided by the number of positives and
    negatives drawn.

    Args:
        num: Priors to draw.
        pos_fraction: Share of positives among these, at most.
        floor_thr: Negatives below this IoU are drawn by themselves, those of
            IoU 0 if it is 0; -1: all by their IoU.
        floor_fraction: Share of those below among the negatives, at least.
        num_bins: Parts of the range above ``floor_thr``.
        kwargs: As RandomSampler.
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
        parts = iou_parts(
            overlaps[above], max(self.floor_thr, 0), self.num_bins
        )
        share = int(num_expected * (1 - self.floor_fraction))
        drawn = above[draw_evenly(parts, self.num_bins, share)]
        # One part more: what lies below the floor comes before the rest.
        rest = torch.ones_like(low).index_fill(0, drawn, False)
        floor = floor[torch.randperm(len(floor), device=floor.device)]
        floor = floor[: num_expected - len(drawn)]
        rest = rest.index_fill(0, floor, False).nonzero().squeeze(1)
        rest = rest[torch.randperm(len(rest), device=rest.device)]
        drawn = torch.cat([drawn, floor, rest])[:num_expected]
        return negatives[drawn]


def iou_parts(overlaps: Tensor, low: float, num_parts: int) -> Tensor:
    """Part of the range from ``low`` to the highest that each lies in, (N,).

    Args:
        overlaps: Not below ``low``, shape (N,).
        low: Where the range begins.
        num_parts: Parts of equal length; the last one includes its end.
    """
    if not len(overlaps):
        return overlaps.long()
    above = overlaps - low
    # A range without length is one part.
    share = above / above.max().clamp(min=torch.finfo(above.dtype).tiny)
    return (share * num_parts).long().clamp(max=num_parts - 1)


def draw_evenly(parts: Tensor, num_parts: int, wanted: int) -> Tensor:
    """Indices of as many of each part, then of the rest, at random.

    Args:
        parts: Part of each, shape (N,).
        num_parts: Number of parts, of which some may be empty.
        wanted: How many to draw; fewer if there are no more.
    """
    shuffled = torch.randperm(len(parts), device=parts.device)
    in_parts = shuffled[parts[shuffled].argsort(stable=True)]
    counts = parts.bincount(minlength=num_parts)
    starts = counts.cumsum(0) - counts
    rank = torch.arange(len(parts), device=parts.device)
    rank = rank - starts[parts[in_parts]]
    # Those of rank 0 of their parts, of rank 1, ...: an equal share of each.
    first = rank < wanted // num_parts
    even, rest = in_parts[first], in_parts[~first]
    rest = rest[torch.randperm(len(rest), device=rest.device)]
    return torch.cat([even, rest])[:wanted]

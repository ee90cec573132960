"""YOLOv3's assignment: one positive per object, chosen by shape.

YOLOv3: https://arxiv.org/abs/1804.02767; details follow darknet.
"""

from collections.abc import Sequence

import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

from mmdet_retina_plus.kernels.boxes import centres_of, shape_iou

from .assign_io import Levels
from .prior_levels import Grid, grids
from .streaming_assigner import StreamingAssigner


@TASK_UTILS.register_module()
class BestPriorAssigner(StreamingAssigner):
    """Assign each ground truth to the prior of best shape at its centre.

    The shape of a prior is its width and height. For each ground truth, the
    shape with the highest IoU over all levels wins, computed with both boxes
    about the same centre; on ties the first. Among the priors of this shape,
    the one at the centre of the ground truth is positive: the prior of its
    cell, or the nearest if priors lie on cell corners. Centres outside the
    feature map are clamped to the border cells.

    There is no threshold: every ground truth gets exactly one positive, unless
    a later one of the same shape and cell overwrites it or its area is 0. All
    other priors are background. The mining policy ``PredictedIoUIgnore``
    ignores some of them as YOLOv3 does.

    Memory grows with the number of priors, not with that of objects. Without
    ``featmap_sizes``, which ``YOLOV3PlusHead`` passes, the number of shapes
    and the width of each level are read from the priors, which synchronises a
    GPU once per image.

    Args:
        ignore_iof_thr: Ignore negatives of which more than this fraction lies
            in an ignore region; off unless above 0.
    """

    def _owners(
        self,
        gts: Tensor,
        priors: Tensor,
        ignored: Tensor,
        levels: Levels,
    ) -> Tensor:
        boxes = priors[:4].t()
        chosen = best_priors(gts, grids(boxes, *levels), len(boxes))
        # The extra entry collects ground truths without a prior.
        owners = chosen.new_zeros(len(boxes) + 1)
        order = torch.arange(1, len(chosen) + 1, device=chosen.device)
        return owners.scatter_reduce_(0, chosen, order, 'amax')[:-1]


def best_priors(gts: Tensor, levels: Sequence[Grid], nowhere: int) -> Tensor:
    """Find the prior of each ground truth, indices of shape (G,).

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

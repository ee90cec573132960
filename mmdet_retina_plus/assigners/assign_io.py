"""Arguments and results of assigners."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_retina_plus.kernels import devices, overlap_matching
from mmdet_retina_plus.kernels.boxes import iou


class Inputs(NamedTuple):
    """Arguments of ``assign``, in one order and as plain tensors.

    Attributes:
        priors: Shape (N, 4), x1, y1, x2, y2 in pixels like all boxes.
        gt_bboxes: Shape (G, 4).
        gt_labels: Shape (G,).
        regions: Ignore regions, shape (R, 4).
        num_level_priors: Number of priors of each level, or None.
        featmap_sizes: Rows and columns of each level, or None.
    """

    priors: Tensor
    gt_bboxes: Tensor
    gt_labels: Tensor
    regions: Tensor
    num_level_priors: Sequence[int] | None
    featmap_sizes: Sequence[tuple[int, int]] | None = None


class Levels(NamedTuple):
    """Levels of the priors.

    Attributes:
        sizes: Number of priors of each level.
        featmap_sizes: Rows and columns of each level, or None.
    """

    sizes: Sequence[int]
    featmap_sizes: Sequence[tuple[int, int]] | None


def read_inputs(
    pred_instances: InstanceData,
    gt_instances: InstanceData,
    gt_instances_ignore: InstanceData | None,
    num_level_priors: Sequence[int] | None,
) -> Inputs:
    """Read the arguments of ``assign`` in either order.

    ATSSHead and similar heads call ``assign(pred_instances, num_level_priors,
    gt_instances, gt_instances_ignore)`` by position, other heads
    ``assign(pred_instances, gt_instances, gt_instances_ignore)``. A list as
    second argument identifies the former.

    Raises:
        ValueError: Levels do not add up to the priors.
    """
    if isinstance(gt_instances, (list, tuple)):
        num_level_priors, gt_instances, gt_instances_ignore = (
            gt_instances,
            gt_instances_ignore,
            num_level_priors,
        )
    gt_bboxes = get_box_tensor(gt_instances.bboxes)
    if gt_instances_ignore is None:
        regions = gt_bboxes[:0]
    else:
        regions = get_box_tensor(gt_instances_ignore.bboxes)
    priors = get_box_tensor(pred_instances.priors)
    sizes = num_level_priors
    if sizes is not None and sum(sizes) != len(priors):
        raise ValueError(
            f'num_level_priors {list(sizes)} add up to {sum(sizes)}, but '
            f'there are {len(priors)} priors'
        )
    return Inputs(
        priors,
        gt_bboxes,
        gt_instances.labels,
        regions,
        num_level_priors,
    )


def assigned_overlaps(gts: Tensor, priors: Tensor, gt_inds: Tensor) -> Tensor:
    """IoU with the assigned ground truth, or the best IoU, shape (N,).

    Args:
        gts: Coordinates (5, G), G > 0.
        priors: Coordinates (5, N), N > 0.
        gt_inds: 1-based ground truth, below 1 where there is none, shape
            (N,).
    """
    best = overlap_matching.match(gts, priors).overlaps
    if devices.may_wait(gts.device):
        positive = (gt_inds > 0).nonzero()[:, 0]
        own_gts = gts[:, gt_inds[positive] - 1]
        best[positive] = iou(own_gts, priors[:, positive])
        return best
    own = iou(gts[:, (gt_inds - 1).clamp(min=0)], priors)
    return torch.where(gt_inds > 0, own, best)


def to_result(
    gt_inds: Tensor, max_overlaps: Tensor, gt_labels: Tensor
) -> AssignResult:
    """Look up the labels; priors that are not positive get -1.

    Args:
        gt_inds: 1-based ground truth, 0 background, -1 ignored, shape (N,).
        max_overlaps: Shape (N,).
        gt_labels: Shape (G,).
    """
    # Prepending a label for "none" avoids the search for positives.
    labels = F.pad(gt_labels.long(), (1, 0), value=-1)
    return AssignResult(
        len(gt_labels), gt_inds, max_overlaps, labels[gt_inds.clamp(min=0)]
    )

"""What heads pass to an assigner, and what they get back."""

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor


class Inputs(NamedTuple):
    """The arguments of ``assign``, sorted and without box types.

    Attributes:
        priors: Shape (N, 4), x1, y1, x2, y2 in pixels as all boxes.
        gt_bboxes: Shape (G, 4).
        gt_labels: Shape (G,).
        regions: Boxes whose priors are to be ignored, shape (R, 4).
        num_level_priors: Number of priors of each level, or None.
    """

    priors: Tensor
    gt_bboxes: Tensor
    gt_labels: Tensor
    regions: Tensor
    num_level_priors: Sequence[int] | None


def read_inputs(
    pred_instances: InstanceData,
    gt_instances: InstanceData,
    gt_instances_ignore: InstanceData | None,
    num_level_priors: Sequence[int] | None,
) -> Inputs:
    """Sort the arguments of ``assign``.

    ATSSHead and its relatives call ``assign(pred_instances, num_level_priors,
    gt_instances, gt_instances_ignore)`` by position, other heads
    ``assign(pred_instances, gt_instances, gt_instances_ignore)``. A list in
    second place tells them apart.
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
    return Inputs(
        get_box_tensor(pred_instances.priors),
        gt_bboxes,
        gt_instances.labels,
        regions,
        num_level_priors,
    )


def to_result(
    gt_inds: Tensor, max_overlaps: Tensor, gt_labels: Tensor
) -> AssignResult:
    """Look the labels up; priors that are not positive get -1.

    Args:
        gt_inds: 1-based ground truth, 0 background, -1 ignored, shape (N,).
        max_overlaps: Shape (N,).
        gt_labels: Shape (G,).
    """
    # With a label for "none" in front, nobody need search for positives.
    labels = F.pad(gt_labels.long(), (1, 0), value=-1)
    return AssignResult(
        len(gt_labels), gt_inds, max_overlaps, labels[gt_inds.clamp(min=0)]
    )

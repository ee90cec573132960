"""Tells an assigner how many priors each pyramid level has."""

import copy
import inspect
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from mmdet.models.dense_heads import AnchorHead
from mmdet.models.task_modules.prior_generators import anchor_inside_flags
from torch import Tensor


def needs_level_sizes(assigner: Any) -> bool:
    """Whether ``assign`` wants ``num_level_priors``.

    mmdet's ATSSAssigner cannot do without it. One that can says by an
    attribute ``needs_num_level_priors`` that it had rather not.
    """
    parameters = inspect.signature(assigner.assign).parameters
    required = (
        'num_level_priors' in parameters
        and parameters['num_level_priors'].default is inspect.Parameter.empty
    )
    return getattr(assigner, 'needs_num_level_priors', required)


def count_inside(
    anchors: Sequence[Sequence[Tensor]],
    valid_flags: Sequence[Sequence[Tensor]],
    batch_img_metas: Sequence[dict],
    allowed_border: float,
) -> list[list[int]]:
    """Number of anchors of each image and level that are assigned.

    mmdet leaves out those in padding and those across the image's border.

    Args:
        anchors: Of each image and level, shape (A_l, 4).
        valid_flags: Of each image and level, shape (A_l,).
        batch_img_metas: Of each image.
        allowed_border: Of the head's ``train_cfg``.
    """
    counts = [
        anchor_inside_flags(
            level, flags, meta['img_shape'][:2], allowed_border
        ).sum()
        for levels, level_flags, meta in zip(
            anchors, valid_flags, batch_img_metas, strict=True
        )
        for level, flags in zip(levels, level_flags, strict=True)
    ]
    # One read of all, since each stops a GPU's queue.
    return torch.stack(counts).view(len(anchors), -1).tolist()


def with_level_sizes(
    head: AnchorHead, num_level_priors: Sequence[int]
) -> AnchorHead:
    """The head as one image's ``_get_targets_single`` wants it.

    mmdet calls ``head.assigner.assign`` without the sizes and takes no further
    argument, so that a shallow copy of the head has an assigner that knows
    them.
    """
    assign = head.assigner.assign
    head = copy.copy(head)
    head.assigner = SimpleNamespace(
        assign=lambda priors, gt_instances, ignored: assign(
            # By name, since mmdet's ATSSAssigner has another order.
            pred_instances=priors,
            gt_instances=gt_instances,
            gt_instances_ignore=ignored,
            num_level_priors=num_level_priors,
        )
    )
    return head

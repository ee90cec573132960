"""Pass the number of priors of each pyramid level to an assigner."""

import copy
import inspect
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from mmdet.models.dense_heads import AnchorHead
from mmdet.models.task_modules.prior_generators import anchor_inside_flags
from torch import Tensor


def takes_level_sizes(assigner: Any) -> bool:
    """Whether to pass ``num_level_priors`` to ``assigner.assign``.

    True if the argument is required, as by mmdet's ATSSAssigner, or if the
    attribute ``takes_num_level_priors`` of the assigner is true.
    """
    parameters = inspect.signature(assigner.assign).parameters
    required = (
        'num_level_priors' in parameters
        and parameters['num_level_priors'].default is inspect.Parameter.empty
    )
    return getattr(assigner, 'takes_num_level_priors', required)


def count_inside(
    anchors: Sequence[Sequence[Tensor]],
    valid_flags: Sequence[Sequence[Tensor]],
    batch_img_metas: Sequence[dict],
    allowed_border: float,
) -> list[list[int]]:
    """Count the anchors of each image and level that are assigned.

    mmdet skips anchors in padding and across the image border.

    Args:
        anchors: Anchors of each image and level, shape (A_l, 4).
        valid_flags: Valid flags of each image and level, shape (A_l,).
        batch_img_metas: Meta information of each image.
        allowed_border: ``allowed_border`` of the head's ``train_cfg``.
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
    # Read all at once, since each read synchronises a GPU.
    return torch.stack(counts).view(len(anchors), -1).tolist()


def with_level_sizes(
    head: AnchorHead, num_level_priors: Sequence[int]
) -> AnchorHead:
    """Copy the head with an assigner that knows the sizes of one image.

    mmdet's ``_get_targets_single`` calls ``head.assigner.assign`` without the
    sizes. The result is a shallow copy of the head: it shares the modules, and
    other attributes set on it are lost.
    """
    assign = head.assigner.assign
    head = copy.copy(head)
    # Not by setattr: both heads share the dict of modules, which may contain
    # the assigner.
    vars(head)['assigner'] = SimpleNamespace(
        assign=lambda priors, gt_instances, ignored=None: assign(
            # By name, since mmdet's ATSSAssigner has another order.
            pred_instances=priors,
            gt_instances=gt_instances,
            gt_instances_ignore=ignored,
            num_level_priors=num_level_priors,
        )
    )
    return head

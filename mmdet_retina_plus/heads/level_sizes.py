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


def takes_level_sizes(assigner: Any) -> bool:
    """Whether to pass ``num_level_priors`` to ``assigner.assign``.

    True where the argument is required, as by mmdet's ATSSAssigner, or where
    the assigner has a true attribute ``takes_num_level_priors``.
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
    """Number of anchors of each image and level that are assigned.

    mmdet leaves out those in padding and those across the image's border.

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
    # One read of all, since each stops a GPU's queue.
    return torch.stack(counts).view(len(anchors), -1).tolist()


def with_level_sizes(
    head: AnchorHead, num_level_priors: Sequence[int]
) -> AnchorHead:
    """The head as one image's ``_get_targets_single`` wants it.

    mmdet calls ``head.assigner.assign`` without the sizes and takes no further
    argument. So a shallow copy of the head has an assigner that knows them;
    its modules are the head's own, and other attributes set on it are lost.
    """
    assign = head.assigner.assign
    head = copy.copy(head)
    # Not by setattr: an assigner that is a module is in a dict of modules
    # that both heads share.
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

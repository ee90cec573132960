"""Checks of losses, assigners and anchors when a head is built."""

from collections.abc import Sequence
from typing import Any

from mmdet.models.task_modules.assigners import PointAssigner
from torch import nn


def check_per_class(
    loss: nn.Module, option: str, count: int, place: str
) -> None:
    """Check the length of an option with one number per class.

    Args:
        loss: Loss of the head.
        option: Attribute of the loss. It may be missing or not a list.
        count: Number of outputs, the required length.
        place: Key of the loss, for the error.

    Raises:
        ValueError: The list has another length.
    """
    numbers = getattr(loss, option, None)
    if isinstance(numbers, Sequence) and len(numbers) != count:
        raise ValueError(
            f'{place} has {option} with {len(numbers)} numbers, but the head '
            f'has {count} outputs: give {count} numbers, in the order of the '
            'classes, with background where the head has an output for it'
        )


def check_box_loss(loss: nn.Module, decoded: bool) -> None:
    """Refuse an IoU loss on deltas, where it is negative without bound.

    Raises:
        ValueError: The loss needs boxes, and the head does not decode them.
    """
    name = type(loss).__name__
    if 'IoU' in name and not decoded:
        raise ValueError(
            f'{name} compares boxes, but the head gives it deltas: set '
            'bbox_head.reg_decoded_bbox=True'
        )


def check_mask_loss(loss: nn.Module | None) -> None:
    """Refuse class weights in mmdet's mask loss.

    It multiplies the columns of a mask by them, regardless of the class.

    Raises:
        ValueError: The loss has `class_weight` and `use_mask`.
    """
    weights = getattr(loss, 'class_weight', None)
    if getattr(loss, 'use_mask', False) and weights is not None:
        raise ValueError(
            'mask_head.loss_mask has class_weight, by which mmdet multiplies '
            'columns of pixels instead of classes: remove it'
        )


def check_assigner(assigner: Any, prior_generator: Any) -> None:
    """Refuse an assigner that would train wrong targets silently.

    Args:
        assigner: Assigner, None without a training config. An attribute
            ``strides``, one number for each level, must be those of the
            priors.
        prior_generator: Prior generator of the head.

    Raises:
        ValueError: It is mmdet's PointAssigner, which reads the columns of
            the anchors as x, y and stride, or it has other strides.
    """
    if isinstance(assigner, PointAssigner):
        raise ValueError(
            'PointAssigner reads priors as (x, y, stride), but the head has '
            'anchors (x1, y1, x2, y2): use PointRangeAssigner'
        )
    strides = getattr(assigner, 'strides', None)
    actual = [max(stride) for stride in prior_generator.strides]
    if strides is not None and list(strides) != actual:
        raise ValueError(
            f'{type(assigner).__name__} has the strides {list(strides)}, the '
            f'priors {actual}: set `strides` of the assigner to those'
        )


def check_sampler(sampler: Any) -> None:
    """Refuse a sampler that adds ground truth boxes to the priors.

    In a dense head mmdet would train anchors that were not sampled or raise
    an IndexError.

    Args:
        sampler: A sampler of mmdet, or None.

    Raises:
        ValueError: ``add_gt_as_proposals`` is set, as it is by default.
    """
    if getattr(sampler, 'add_gt_as_proposals', False):
        raise ValueError(
            f'{type(sampler).__name__} adds ground truth boxes to the '
            'anchors, which shifts their indices in a dense head: set '
            'train_cfg.sampler.add_gt_as_proposals=False'
        )


def check_anchors(prior_generator: Any) -> None:
    """Refuse a generator with two equal anchors at a location.

    Args:
        prior_generator: A prior generator of mmdet. One without
            ``base_anchors``, of shape (A, 4) for each level, is not checked.

    Raises:
        ValueError: Some are equal, as those of nested ``ratios``.
    """
    for anchors in getattr(prior_generator, 'base_anchors', ()):
        distinct = len(anchors.unique(dim=0))
        if distinct < len(anchors):
            raise ValueError(
                f'{len(anchors)} anchors of a location are {distinct} '
                'different ones: give anchor_generator each ratio and each '
                'scale once, in a plain list such as ratios=[0.5, 1.0, 2.0]'
            )

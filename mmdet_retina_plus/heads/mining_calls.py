"""Build and call mining policies by the protocol of ``mining.policy``."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet.registry import TASK_UTILS
from mmdet.utils import ConfigType, InstanceList
from torch import Tensor

ARGUMENTS = ('cls_score', 'boxes', 'labels', 'label_weights', 'gt_instances')
NEEDS = ('anchors', 'predictions', None)
NORMALIZERS = ('positives', 'selected')


def build_policies(
    configs: Sequence[ConfigType], use_sigmoid: bool
) -> list[Any]:
    """Build policies.

    Args:
        configs: One per policy.
        use_sigmoid: Whether the classifier uses sigmoids.

    Raises:
        ValueError: A policy does not follow the protocol.
    """
    policies = [TASK_UTILS.build(config) for config in configs]
    for policy in policies:
        check_policy(policy, use_sigmoid)
    for policy in policies[:-1]:
        if getattr(policy, 'per_class', False):
            raise ValueError(
                f'{type(policy).__name__} returns weights per class, which '
                'other policies do not accept: make it the last of `mining`'
            )
    return policies


def check_policy(policy: Any, use_sigmoid: bool) -> None:
    """Check that a policy follows the protocol.

    Raises:
        ValueError: An argument or attribute is missing, or an attribute has
            an unknown value.
    """
    name = type(policy).__name__
    see = 'see mmdet_retina_plus.mining.MiningPolicy'
    try:
        inspect.signature(policy).bind(*ARGUMENTS)
    except TypeError as error:
        raise ValueError(
            f'{name} is not a mining policy ({error}): it is called with '
            f'{", ".join(ARGUMENTS)}, {see}'
        ) from error
    if getattr(policy, 'needs', 'nothing is said') not in NEEDS:
        raise ValueError(
            f'{name} must state which boxes it needs: set its attribute '
            f"`needs` to 'anchors', 'predictions' or None, {see}"
        )
    normalizer = normalizer_of(policy)
    if normalizer not in NORMALIZERS:
        raise ValueError(
            f'{name} has normalizer={normalizer!r}: use '
            f'{" or ".join(map(repr, NORMALIZERS))}, {see}'
        )
    expected = getattr(policy, 'use_sigmoid', use_sigmoid)
    if expected != use_sigmoid:
        raise ValueError(
            f'{name} has use_sigmoid={expected}, the classifier '
            f'{use_sigmoid}: set it to that, or leave the policy out by '
            'mining=None'
        )


def normalizer_of(policy: Any) -> str:
    return getattr(policy, 'normalizer', None) or 'positives'


def apply_policies(
    policies: Sequence[Any],
    cls_score: Tensor,
    boxes: Mapping[str, Tensor],
    labels: Tensor,
    label_weights: Tensor,
    batch_gt_instances: InstanceList,
) -> Tensor:
    """Compute the classification weights after all policies.

    Args:
        policies: Policies in the order to apply.
        cls_score: Logits of shape (N, A, K).
        boxes: Boxes by the names in ``needs``, each of shape (N, A, 4).
        labels: Shape (N, A).
        label_weights: Shape (N, A).
        batch_gt_instances: Ground truth of each image.
    """
    mined = []
    for image, gt_instances in enumerate(batch_gt_instances):
        weights = label_weights[image]
        for policy in policies:
            weights = policy(
                cls_score[image],
                boxes[policy.needs][image] if policy.needs else None,
                labels[image],
                weights,
                gt_instances,
            )
        mined.append(weights)
    return torch.stack(mined)

"""What mmdet's losses accept, checked: reductions, targets and weights."""

import torch
from torch import Tensor

from mmdet_retina_plus.kernels import devices


def check_reduction(reduction: str) -> str:
    if reduction not in ('none', 'mean', 'sum'):
        raise ValueError(
            f'reduction is {reduction!r}: use "none", "mean" or "sum"'
        )
    return reduction


def factor_of_sum(
    pred: Tensor, reduction: str, avg_factor: float | Tensor | None
) -> float | Tensor:
    """What mmdet's ``weight_reduce_loss`` multiplies the sum by.

    Raises:
        ValueError: ``avg_factor`` meets ``'sum'``.
    """
    if reduction == 'none':
        return 1.0
    if avg_factor is None:
        return 1.0 if reduction == 'sum' else 1 / max(1, pred.numel())
    if reduction == 'sum':
        raise ValueError(
            'avg_factor is the divisor of a mean: use reduction="mean" with '
            'it, or leave it out'
        )
    if isinstance(avg_factor, Tensor):
        # An integer or a half would lose digits in the reciprocal.
        avg_factor = (
            avg_factor.detach()
            .reshape(())
            .to(torch.promote_types(pred.dtype, torch.float32))
        )
    return 1 / (avg_factor + torch.finfo(torch.float32).eps)


def check_classification(pred: Tensor, target: Tensor) -> None:
    """Raise ValueError unless shapes and types of logits and target fit.

    Args:
        pred: Logits, to be of shape (N, C).
        target: To be labels of shape (N,), or of shape (N, C).
    """
    if pred.dim() != 2 or not pred.is_floating_point():
        raise ValueError(
            f'Logits are {pred.dtype} of shape {tuple(pred.shape)}: bring '
            'them into floating point and shape (anchors, classes)'
        )
    if target.dim() == 1:
        if target.is_floating_point() or target.dtype == torch.bool:
            raise ValueError(
                f'Labels are {target.dtype}: use integers, or targets of '
                'shape (anchors, classes)'
            )
        expected = pred.shape[:1]
    else:
        expected = pred.shape
    if target.shape != expected:
        raise ValueError(
            f'Targets have shape {tuple(target.shape)} for logits of shape '
            f'{tuple(pred.shape)}: give one label per anchor or one target '
            'per logit'
        )
    check_constant(target, 'targets')


def check_range(pred: Tensor, target: Tensor) -> None:
    """Refuse labels outside of [0, C] and soft targets outside of [0, 1].

    Args:
        pred: Logits, shape (N, C).
        target: Labels of shape (N,), or targets of shape (N, C).

    Raises:
        ValueError: On a CPU; on a GPU, which nothing waits for, a device-side
            assertion fails.
    """
    largest = pred.size(1) if target.dim() == 1 else 1
    if target.numel():
        # Their own type may not hold the number of classes.
        low, high = target.aminmax()
        if target.dim() == 1:
            low, high = low.long(), high.long()
        devices.check(
            # Written such that NaN fails.
            (low >= 0) & (high <= largest),
            lambda: (
                f'Targets span [{low}, {high}] instead of [0, {largest}]: '
                'labels count from 0 with background last, targets per class '
                'are probabilities'
            ),
        )


def weight_matrix(pred: Tensor, weight: Tensor | None) -> Tensor:
    """Weights of shape (N, 1) or (N, C), from any that mmdet knows.

    Args:
        pred: Shape (N, C).
        weight: Shape (N,), (N, 1), (N, C) or flattened (N * C,); or None.

    Raises:
        ValueError: Another shape, or a weight that wants a gradient.
    """
    if weight is None:
        return pred.new_ones(()).expand(len(pred), 1)
    check_constant(weight, 'weights')
    if weight.shape in (pred.shape[:1], (len(pred), 1)):
        return weight.reshape(-1, 1)
    if weight.shape in (pred.shape, (pred.numel(),)):
        return weight.reshape(pred.shape)
    raise ValueError(
        f'Weights have shape {tuple(weight.shape)} for predictions of shape '
        f'{tuple(pred.shape)}: give one per row or one per number'
    )


def check_constant(tensor: Tensor, name: str) -> None:
    if tensor.requires_grad:
        raise ValueError(f'No gradient flows into {name}: detach() them')

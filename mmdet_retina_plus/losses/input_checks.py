"""What mmdet's losses accept, checked: reductions, targets and weights."""

import torch
from torch import Tensor


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
    """Raise ValueError unless logits and target fit each other in shape.

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


def check_target_range(pred: Tensor, target: Tensor) -> None:
    """Raise ValueError unless targets are in range, with a look at them.

    Args:
        pred: Shape (N, C).
        target: Labels of shape (N,) in [0, C], or of shape (N, C) in [0, 1].
    """
    if target.numel():
        low, high = torch.stack(target.aminmax()).tolist()
        # Written such that NaN fails.
        if not (low >= 0 and high <= largest_target(pred, target)):
            raise ValueError(
                f'Targets span [{low}, {high}] instead of '
                f'{expected_range(pred, target)}'
            )


def assert_target_range(pred: Tensor, target: Tensor, valid: Tensor) -> None:
    """Fail if ``valid`` is false, without waiting for a GPU.

    Args:
        pred: As in ``check_target_range``.
        target: As in ``check_target_range``.
        valid: Whether they are in range; a flag without dimension.

    Raises:
        ValueError: ``valid`` is a false one on the CPU. On a GPU it stops the
            kernels after it, and CUDA raises where Python waits next; the
            message is printed to stderr.
    """
    message = f'Targets lie outside of {expected_range(pred, target)}'
    if valid.is_cuda:
        torch._assert_async(valid, message)
    elif not valid:
        raise ValueError(message)


def largest_target(pred: Tensor, target: Tensor) -> int:
    return pred.size(1) if target.dim() == 1 else 1


def expected_range(pred: Tensor, target: Tensor) -> str:
    return (
        f'[0, {largest_target(pred, target)}]: labels count from 0 with '
        'background last, targets per class are probabilities'
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

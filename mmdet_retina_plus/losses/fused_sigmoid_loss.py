"""Value and gradient of a dense sigmoid loss in one pass over the logits.

Every (anchor, class) pair is a separate binary term (Lin et al., "Focal Loss
for Dense Object Detection", arXiv 1708.02002), and a positive of logit x has
the loss of a background of logit -x. So a loss is one function of background
logits; this module weighs it, sums it and keeps its gradient.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet_retina_plus.kernels import dispatch

from .input_checks import (
    check_classification,
    check_range,
    check_reduction,
    factor_of_sum,
    weight_matrix,
)

Terms = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], None]

# Logits per chunk: buffers fit into the cache of a CPU, and an accelerator
# needs few launches.
CHUNK_CPU = 2**19
CHUNK_ACCELERATOR = 2**21

# torch has no public way to tell whether backward() keeps its graph. If this
# one is missing, backward allocates a second buffer.
keeps_graph = getattr(
    torch._C._autograd, '_get_current_graph_task_keep_graph', lambda: True
)

OUT_OF_RANGE = (
    'Labels lie outside of [0, C], background last, or soft targets outside '
    'of [0, 1]'
)


class FusedSigmoidLoss(nn.Module):
    """Base class of losses that are one function of background logits.

    The forward pass also computes the gradient and keeps nothing else; there
    is no second derivative. Half precision is computed in single precision,
    and its gradient is rounded after scaling by the upstream gradient. On a
    GPU with Triton, unless in double precision, one kernel computes the loss
    and one the gradient, from logits that are kept instead.

    Args:
        use_sigmoid: Must be True; mmdet's heads read it.
        alpha: Factor of positive terms; background terms get ``1 - alpha``.
            One number, one per class, or None for no weighting.
        reduction: ``'none'``, ``'mean'`` or ``'sum'``.
        loss_weight: Factor of the result.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        use_sigmoid: bool,
        alpha: float | Sequence[float] | None,
        reduction: str,
        loss_weight: float,
    ) -> None:
        super().__init__()
        if use_sigmoid is not True:
            raise ValueError(
                f'{type(self).__name__} scores every class by its own '
                'sigmoid: set use_sigmoid=True'
            )
        self.use_sigmoid = use_sigmoid
        self.alpha = alpha
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight
        self.balance = positive_and_background_factors(alpha)

    def terms(
        self,
        logits: Tensor,
        factor: Tensor,
        value: Tensor,
        slope: Tensor,
        scratch: Tensor,
    ) -> None:
        """Compute ``factor`` times loss and derivative of background logits.

        Args:
            logits: Any shape, float32 or float64.
            factor: Broadcastable to ``logits``.
            value: Output, the loss, same shape as ``logits``.
            slope: Output, the derivative, same shape.
            scratch: Buffer, same shape.
        """
        raise NotImplementedError

    def formula(self) -> tuple[bool, float, float]:
        """Arguments of the GPU kernel: ``star``, ``gamma``, ``beta``."""
        raise NotImplementedError

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Compute the loss of N anchors and C classes.

        Args:
            pred: Logits, shape (N, C).
            target: Labels of shape (N,), background is C; or shape (N, C),
                soft targets in [0, 1]. The loss is linear in a soft target,
                so one-hot rows equal labels.
            weight: Shape (N,), (N, C) or flattened (N * C,); a constant.
            avg_factor: Divisor instead of N * C for ``'mean'``; mmdet adds
                float32's epsilon. Ignored for ``'none'``.
            reduction_override: Replaces ``reduction``.

        Returns:
            A scalar, or (N, C) for ``'none'``, in the precision it was
            computed in. Zero without anchors.

        Raises:
            ValueError: Shapes do not match, ``avg_factor`` is given with
                ``'sum'``, or, on a CPU, labels lie outside [0, C] or soft
                targets outside [0, 1]. On a GPU such targets end in a
                device-side assertion.
        """
        reduction = check_reduction(reduction_override or self.reduction)
        check_classification(pred, target)
        if len(self.balance[0]) not in (1, pred.size(1)):
            raise ValueError(
                f'alpha has {len(self.balance[0])} entries for {pred.size(1)} '
                'classes: give one per class, without background'
            )
        if dispatch.usable(pred, target, weight):
            return self._by_kernel(pred, target, weight, avg_factor, reduction)
        check_range(pred, target)
        dtype = torch.promote_types(pred.dtype, torch.float32)
        # Unlike new_tensor this does not wait for a GPU.
        balance = torch.tensor(self.balance, dtype=dtype)
        balance = balance.to(pred.device, non_blocking=True)
        factor = factor_of_sum(pred, reduction, avg_factor)
        evaluate = partial(
            loss_and_slope,
            target=target,
            weight=weight_matrix(pred, weight),
            balance=balance * (self.loss_weight * factor),
            terms=self.terms,
            per_element=reduction == 'none',
        )
        if torch.is_grad_enabled() and pred.requires_grad:
            # Lets double backward reach its error without keeping the
            # logits.
            return _Fused.apply(pred, pred[:0].clone(), evaluate)
        return evaluate(pred, with_slope=False)[0]

    def _by_kernel(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None,
        avg_factor: float | Tensor | None,
        reduction: str,
    ) -> Tensor:
        """Compute ``forward`` on a GPU without synchronising."""
        from mmdet_retina_plus.kernels.sigmoid_loss import SigmoidLoss

        scale = self.loss_weight * factor_of_sum(pred, reduction, avg_factor)
        if isinstance(scale, Tensor):
            scale = scale.to(pred.device, torch.float32, non_blocking=True)
        loss = SigmoidLoss(
            *self.formula(),
            self.balance,
            target,
            None if weight is None else weight_matrix(pred, weight),
            scale,
            per_element=reduction == 'none',
        )
        return _Recomputed.apply(pred.contiguous(), loss)


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, pred, loss):
        value, valid = loss.value(pred)
        # Not read, which would synchronise. False stops the GPU.
        torch._assert_async(valid, OUT_OF_RANGE)
        # Saved, so that an in-place change before backward is an error.
        ctx.save_for_backward(pred, loss.target, loss.weight)
        ctx.loss = loss._replace(target=None, weight=None)
        return value

    @staticmethod
    def backward(ctx, grad_output):
        pred, target, weight = ctx.saved_tensors
        loss = ctx.loss._replace(target=target, weight=weight)
        with torch.no_grad():
            grad = loss.gradient(pred, grad_output)
        if torch.is_grad_enabled():
            grad = _Once.apply(grad, pred)
        return grad, None


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, pred, link, evaluate):
        loss, slope = evaluate(pred, with_slope=True)
        ctx.save_for_backward(slope, link)
        ctx.dtype = pred.dtype
        return loss

    @staticmethod
    def backward(ctx, grad_output):
        slope, link = ctx.saved_tensors
        with torch.no_grad():
            grad = scaled(slope, grad_output).to(ctx.dtype)
        if torch.is_grad_enabled():
            grad = _Once.apply(grad, link)
        return grad, None, None


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, grad, link):
        return grad.view_as(grad)

    @staticmethod
    def backward(ctx, grad_output):
        raise RuntimeError(
            'The fused losses have no second derivative, since they keep only '
            "their gradient: use mmdet's FocalLoss where create_graph=True "
            'is needed'
        )


def loss_and_slope(
    pred: Tensor,
    target: Tensor,
    weight: Tensor,
    balance: Tensor,
    terms: Terms,
    per_element: bool,
    with_slope: bool,
) -> tuple[Tensor, Tensor | None]:
    """Loss, summed unless ``per_element``, and its slope at every logit.

    Args:
        pred: Logits, shape (N, C).
        target: Labels of shape (N,) or soft targets of shape (N, C).
        weight: Shape (N, 1) or (N, C).
        balance: Factors of positive and of background terms, shape (2, 1) or
            (2, C), in the precision to compute in.
        terms: See ``FusedSigmoidLoss.terms``.
        per_element: Return the loss in the shape of ``pred``.
        with_slope: Return the slope too; otherwise None.
    """
    dtype = balance.dtype
    positive, background = balance
    size = chunk_rows(pred)
    losses = allocate(pred if per_element else pred[:size], dtype)
    slopes = allocate(pred if with_slope else pred[:size], dtype)
    scratch = allocate(pred[:size], dtype)
    labelled = target.dim() == 1
    if labelled:
        hits = positives(pred, target, weight, positive, terms, size)
    sums = [balance.new_zeros(())]
    for start in range(0, len(pred), size):
        rows = slice(start, start + size)
        logits = pred[rows].to(dtype).contiguous()
        first = slice(len(logits))
        value = losses[rows if per_element else first]
        slope = slopes[rows if with_slope else first]
        factor = weight[rows] * background
        if labelled:
            terms(logits, factor, value, slope, scratch[first])
            places, values_there, slopes_there = next(hits)
            value.view(-1).index_copy_(0, places, values_there)
            slope.view(-1).index_copy_(0, places, slopes_there)
        else:
            share = target[rows].to(dtype)
            terms(logits, factor * (1 - share), value, slope, scratch[first])
            factor = weight[rows] * positive * share
            other, other_slope = torch.empty_like(logits.expand(2, -1, -1))
            terms(-logits, factor, other, other_slope, scratch[first])
            value.add_(other)
            slope.sub_(other_slope)
        if not per_element:
            sums.append(value.sum())
    loss = losses if per_element else torch.stack(sums).sum()
    return loss, slopes if with_slope else None


def positives(
    pred: Tensor,
    labels: Tensor,
    weight: Tensor,
    factor: Tensor,
    terms: Terms,
    size: int,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield flat indices, losses and slopes of positives, by ``size`` rows."""
    positive = (labels >= 0) & (labels < pred.size(1))
    row = positive.nonzero().squeeze(1)
    column = labels[row].long()
    logits = pred[row, column].to(factor.dtype)
    factor = factor.expand(pred.size(1))[column]
    factor = factor * weight.expand_as(pred)[row, column]
    value, slope, scratch = logits.new_empty(3, len(row))
    terms(-logits, factor, value, slope, scratch)
    chunk = row // size
    counts = chunk.bincount(minlength=-(-len(pred) // size)).tolist()
    return zip(
        ((row - chunk * size) * pred.size(1) + column).split(counts),
        value.split(counts),
        slope.neg().split(counts),
        strict=True,
    )


def scaled(slope: Tensor, grad_output: Tensor) -> Tensor:
    """Compute ``slope * grad_output``, in place if the graph is not kept."""
    if keeps_graph():
        return slope * grad_output
    scalar_here = grad_output.dim() == 0 and grad_output.device.type == 'cpu'
    if scalar_here and grad_output == 1:
        return slope
    return slope.mul_(grad_output)


def allocate(pred: Tensor, dtype: torch.dtype) -> Tensor:
    if pred.device.type != 'cpu':
        return torch.empty(pred.shape, dtype=dtype, device=pred.device)
    # NumPy requests huge pages from Linux: page faults of small pages would
    # take longer than the arithmetic.
    return torch.from_numpy(
        np.empty(pred.shape, str(dtype).removeprefix('torch.'))
    )


def chunk_rows(pred: Tensor) -> int:
    on_cpu = pred.device.type == 'cpu'
    logits = CHUNK_CPU if on_cpu else CHUNK_ACCELERATOR
    # Multiples of 32 rows fill whole vector registers, so no result depends on
    # where a chunk ends.
    return max(1, logits // max(1, pred.size(1)) // 32) * 32


def softplus(logits: Tensor, out: Tensor) -> Tensor:
    # Above 40, softplus(x) equals x to the last bit of float64.
    return F.softplus(logits, 1, 40, out=out)  # type: ignore[call-arg]


def positive_and_background_factors(
    alpha: float | Sequence[float] | None,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute the factors of positive and background terms, by class or one.

    Raises:
        ValueError: A factor is not in [0, 1].
    """
    if alpha is None:
        return (1.0,), (1.0,)
    alphas = tuple(alpha) if isinstance(alpha, Sequence) else (alpha,)
    if not alphas or not all(
        isinstance(value, (int, float)) and 0 <= value <= 1 for value in alphas
    ):
        raise ValueError(
            f'alpha is {alpha}: give a number in [0, 1], one such per class, '
            'or None for no weighting'
        )
    return alphas, tuple(1 - value for value in alphas)

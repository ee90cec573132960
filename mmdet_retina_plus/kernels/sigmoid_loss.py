"""Focal loss and FL* as two kernels: the sum, and the gradient.

Each reads the logits once. The forward pass writes a few partial sums in a
fixed order and nothing else; the backward pass computes the gradient from the
logits again and scales it by the upstream gradient, so that both together move
1.5 copies of the logits.

Focal loss: https://arxiv.org/abs/1708.02002, FL* is in its appendix A.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

# Logits in a tile, a power of two.
TILE = 2048
WARPS = 8
# Programs of the forward pass, each with a partial sum. Many rounds on any
# GPU, so that an incomplete last one costs little.
MAX_PROGRAMS = 2**14
# Classes that a tile treats together, if their number divides by it.
MAX_GROUP = 16
FINISH_BLOCK = 4096

LOG2E = tl.constexpr(math.log2(math.e))


class SigmoidLoss(NamedTuple):
    """The loss of N x C logits and what it depends on, but for the logits.

    Attributes:
        star: FL* instead of the focal loss.
        gamma: Parameter of both.
        beta: Parameter of FL*.
        balance: Factors of positive and of background terms; one for all
            classes, or one per class.
        target: Labels (N,), background is C; or soft targets (N, C).
        weight: Shape (N, 1), (N, C) or None.
        scale: Factor of the result; a tensor is on the device of the logits,
            in float32, without dimension.
        per_element: Do not sum.
    """

    star: bool
    gamma: float
    beta: float
    balance: tuple[Sequence[float], Sequence[float]]
    target: Tensor
    weight: Tensor | None
    scale: float | Tensor
    per_element: bool

    def value(self, pred: Tensor) -> tuple[Tensor, Tensor]:
        """The loss in float32, and whether all targets are in range.

        Args:
            pred: Logits (N, C), contiguous.
        """
        shape = pred.shape if self.per_element else ()
        loss = pred.new_empty(shape, dtype=torch.float32)
        valid = pred.new_empty((), dtype=torch.bool)
        programs = self._tiles(pred)
        if not self.per_element:
            programs = min(programs, MAX_PROGRAMS)
        partial = pred.new_empty((2, programs), dtype=torch.float32)
        self._launch(programs, pred, pred, loss, partial)
        with torch.cuda.device_of(pred):
            _finish_kernel[(1,)](
                partial,
                loss,
                valid,
                self.scale,
                programs,
                SCALE_IS_TENSOR=isinstance(self.scale, Tensor),
                PER_ELEMENT=self.per_element,
                BLOCK=FINISH_BLOCK,
                num_warps=WARPS,
            )
        return loss, valid

    def gradient(self, pred: Tensor, grad_output: Tensor) -> Tensor:
        """The gradient with respect to ``pred``, in its precision.

        Args:
            pred: Logits (N, C), contiguous.
            grad_output: Gradient of the loss, in its shape.
        """
        grad = torch.empty_like(pred)
        grad_output = grad_output.contiguous()
        self._launch(
            self._tiles(pred), pred, grad_output, grad, grad, GRADIENT=True
        )
        return grad

    def _tiles(self, pred: Tensor) -> int:
        group = math.gcd(pred.size(1), MAX_GROUP)
        return triton.cdiv(pred.numel() // max(1, group), TILE // group)

    def _launch(
        self,
        programs: int,
        pred: Tensor,
        grad_output: Tensor,
        out: Tensor,
        partial: Tensor,
        GRADIENT: bool = False,
    ) -> None:
        if not programs:
            return
        weight, (positive, background) = self.weight, self.balance
        per_class = len(positive) > 1
        group = math.gcd(pred.size(1), MAX_GROUP)
        with torch.cuda.device_of(pred):
            _loss_kernel[(programs,)](
                pred,
                self.target.contiguous(),
                pred if weight is None else weight.contiguous(),
                class_factors(self.balance, pred.device)
                if per_class
                else pred,
                grad_output,
                out,
                partial,
                self.scale,
                float(positive[0]),
                float(background[0]),
                float(self.gamma),
                float(self.beta),
                pred.numel() // group,
                self._tiles(pred),
                CLASSES=pred.size(1),
                GROUP=group,
                ROWS=TILE // group,
                STAR=self.star,
                LABELS=self.target.dim() == 1,
                WEIGHTS=0 if weight is None else min(2, weight.size(1)),
                PER_CLASS=per_class,
                SCALE_IS_TENSOR=isinstance(self.scale, Tensor),
                PER_ELEMENT=self.per_element,
                GRADIENT=GRADIENT,
                num_warps=WARPS,
            )


@lru_cache
def class_factors(
    balance: tuple[tuple[float, ...], tuple[float, ...]], device: torch.device
) -> Tensor:
    """Factors (2, C) on a device, copied there once."""
    return torch.tensor(balance, dtype=torch.float32, device=device)


@triton.jit
def _log1p(t):
    """``ln(1 + t)`` of t in [0, 1], to 4e-7 of it even where t is tiny."""
    series = tl.full(t.shape, -0.00853921, tl.float32)
    series = series * t + 0.044089634
    series = series * t - 0.107681714
    series = series * t + 0.17745242
    series = series * t - 0.24495463
    series = series * t + 0.3327548
    series = series * t - 0.49997404
    series = series * t + 0.9999998
    return series * t


@triton.jit
def _terms(z, gamma, beta, STAR: tl.constexpr):
    """Loss and derivative of background logits.

    A positive of logit z costs what a background of logit -z does. Summands
    have one sign, so nothing cancels. Divisions would cost more than powers.
    """
    if STAR:
        z = gamma * z - beta
    small = tl.exp2(tl.abs(z) * -LOG2E)
    log = _log1p(small)
    minus_ln_p = tl.maximum(z, 0.0) + log
    reciprocal = tl.exp2(log * -LOG2E)
    q = tl.where(z >= 0, 1.0, small) * reciprocal
    if STAR:
        value = minus_ln_p * (1.0 / gamma)
        slope = q
    else:
        # The bound keeps 0 * inf away.
        minus_ln_q = tl.minimum(tl.maximum(-z, 0.0) + log, 1e30)
        power = tl.exp2(minus_ln_q * (gamma * -LOG2E))
        p = tl.where(z >= 0, small, 1.0) * reciprocal
        value = power * minus_ln_p
        slope = power * (gamma * p * minus_ln_p + q)
    return value, slope


@triton.jit
def _loss_kernel(
    pred,
    target,
    weight,
    balance,
    grad_output,
    out,
    partial,
    scale,
    positive,
    background,
    gamma,
    beta,
    groups,
    tiles,
    CLASSES: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    STAR: tl.constexpr,
    LABELS: tl.constexpr,
    WEIGHTS: tl.constexpr,
    PER_CLASS: tl.constexpr,
    SCALE_IS_TENSOR: tl.constexpr,
    PER_ELEMENT: tl.constexpr,
    GRADIENT: tl.constexpr,
):
    """Losses of elements or their partial sums; or the gradient.

    The logits are one list here, cut into groups of which each belongs to one
    anchor, so that labels and weights are read once per group.
    """
    PER_ANCHOR: tl.constexpr = CLASSES // GROUP
    program, programs = tl.program_id(0), tl.num_programs(0)
    row, lane = tl.arange(0, ROWS), tl.arange(0, GROUP)[None]
    total = tl.zeros((ROWS, GROUP), tl.float32)
    any_wrong = tl.zeros((ROWS, 1 if LABELS else GROUP), tl.int32)
    for tile in tl.range(program, tiles, programs):
        first = tl.cast(tile, tl.int64) * ROWS
        # Relative to the first, indices fit into 32 bits.
        anchor = first // PER_ANCHOR
        local = (first - anchor * PER_ANCHOR).to(tl.int32) + row
        local_anchor = local // PER_ANCHOR
        column = (local % PER_ANCHOR * GROUP)[:, None] + lane
        inside = row < tl.minimum(groups - first, ROWS).to(tl.int32)
        mask = inside[:, None]
        offset = (row * GROUP)[:, None] + lane
        start = first * GROUP
        x = tl.load(pred + start + offset, mask=mask, other=0).to(tl.float32)

        if WEIGHTS == 2:
            factor = tl.load(weight + start + offset, mask=mask, other=0)
            factor = factor.to(tl.float32)
        elif WEIGHTS == 1:
            factor = tl.load(
                weight + anchor + local_anchor, mask=inside, other=0
            )
            factor = factor.to(tl.float32)[:, None]
        else:
            factor = inside.to(tl.float32)[:, None]
        hit_factor, miss_factor = positive, background
        if PER_CLASS:
            hit_factor = tl.load(balance + column)
            miss_factor = tl.load(balance + CLASSES + column)

        if LABELS:
            label = tl.load(
                target + anchor + local_anchor, mask=inside, other=CLASSES
            )
            wrong = ((label < 0) | (label > CLASSES))[:, None]
            hit = column == label.to(tl.int32)[:, None]
            signed = tl.where(hit, -x, x)
            value, slope = _terms(signed, gamma, beta, STAR)
            factor *= tl.where(hit, hit_factor, miss_factor)
            value = factor * value
            slope = tl.where(hit, -factor, factor) * slope
        else:
            soft = tl.load(target + start + offset, mask=mask, other=0).to(
                tl.float32
            )
            # Written such that NaN is wrong.
            wrong = ((soft >= 0) & (soft <= 1)) == 0
            value, slope = _terms(x, gamma, beta, STAR)
            hit_value, hit_slope = _terms(-x, gamma, beta, STAR)
            hit_factor = soft * hit_factor
            miss_factor = (1 - soft) * miss_factor
            value = factor * (miss_factor * value + hit_factor * hit_value)
            slope = factor * (miss_factor * slope - hit_factor * hit_slope)

        factor = tl.load(scale) if SCALE_IS_TENSOR else scale
        if GRADIENT:
            if PER_ELEMENT:
                upstream = tl.load(
                    grad_output + start + offset, mask=mask, other=0
                )
            else:
                upstream = tl.load(grad_output)
            tl.store(
                out + start + offset, slope * (upstream * factor), mask=mask
            )
        else:
            any_wrong = tl.where(wrong, 1, any_wrong)
            if PER_ELEMENT:
                tl.store(out + start + offset, value * factor, mask=mask)
            else:
                total += value
    if not GRADIENT:
        tl.store(partial + program, tl.sum(tl.sum(total, axis=1), axis=0))
        any_wrong = tl.max(tl.max(any_wrong, axis=1), axis=0)
        tl.store(partial + programs + program, any_wrong.to(tl.float32))


@triton.jit
def _finish_kernel(
    partial,
    loss,
    valid,
    scale,
    programs,
    SCALE_IS_TENSOR: tl.constexpr,
    PER_ELEMENT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add the partial sums, in a fixed order."""
    total = tl.zeros((BLOCK,), tl.float32)
    wrong = tl.zeros((BLOCK,), tl.float32)
    for start in tl.range(0, programs, BLOCK):
        program = start + tl.arange(0, BLOCK)
        inside = program < programs
        total += tl.load(partial + program, mask=inside, other=0)
        wrong += tl.load(partial + programs + program, mask=inside, other=0)
    if not PER_ELEMENT:
        factor = tl.load(scale) if SCALE_IS_TENSOR else scale
        tl.store(loss, tl.sum(total, axis=0) * factor)
    tl.store(valid, tl.sum(wrong, axis=0) == 0)

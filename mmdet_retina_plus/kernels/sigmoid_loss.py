"""Focal loss and FL* as two kernels: the sum, and the gradient.

Each reads the logits once. The forward pass only writes a few partial sums in
a fixed order. The backward pass recomputes the gradient from the logits and
scales it by the upstream gradient. Together they move 1.5 copies of the
logits.

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

# Logits per tile, a power of two.
TILE = 2048
WARPS = 4
# Programs of the forward pass, each with a partial sum: enough for many waves
# on any GPU, so that an incomplete last wave costs little.
MAX_PROGRAMS = 2**12
FINISH_BLOCK = 4096

# Losses are in units of log2(e) * LIFT until the end. A GPU rounds subnormal
# numbers to 0: LIFT keeps the powers normal as long as the loss is normal.
LOG2E, LN2 = math.log2(math.e), math.log(2)
LIFT_BITS = tl.constexpr(8)
LIFT = 2.0**LIFT_BITS.value
# The smallest normal number of float32.
TINY = 2.0**-126


class SigmoidLoss(NamedTuple):
    """The loss of N x C logits: all that it depends on except the logits.

    Attributes:
        star: FL* instead of the focal loss.
        gamma: Parameter of both.
        beta: Parameter of FL*.
        balance: Factors of positive and of background terms, one for all
            classes or one per class.
        target: Labels (N,), background is C; or soft targets (N, C).
        weight: Shape (N, 1), (N, C) or None.
        scale: Factor of the result; a number, or a float32 tensor of shape ()
            on the device of the logits.
        per_element: Whether to return a loss per element instead of the sum.
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
        """Compute the loss in float32, and whether all targets are in range.

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
                self._unit,
                programs,
                SCALE_IS_TENSOR=isinstance(self.scale, Tensor),
                PER_ELEMENT=self.per_element,
                BLOCK=FINISH_BLOCK,
                num_warps=WARPS,
            )
        return loss, valid

    def gradient(self, pred: Tensor, grad_output: Tensor) -> Tensor:
        """Compute the gradient with respect to ``pred``, in its precision.

        Args:
            pred: Logits (N, C), contiguous.
            grad_output: Upstream gradient, of the loss's shape.
        """
        grad = torch.empty_like(pred)
        grad_output = grad_output.contiguous()
        self._launch(
            self._tiles(pred), pred, grad_output, grad, grad, GRADIENT=True
        )
        return grad

    @property
    def _unit(self) -> float:
        """Unit of the kernel's losses."""
        if self.star:
            return LN2 / self.gamma
        return LN2 / LIFT

    def _tiles(self, pred: Tensor) -> int:
        group = group_size(pred.size(1))
        groups = len(pred) * triton.cdiv(pred.size(1), group)
        return triton.cdiv(groups, TILE // group)

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
        group = group_size(pred.size(1))
        if self.star:
            steepness, shift, gamma = (
                self.gamma * LOG2E,
                self.beta * LOG2E,
                0.0,
            )
            slope_unit = 1.0
        else:
            # Above 0, since a logit of -inf would give 0 * inf.
            steepness, shift, gamma = LOG2E, 0.0, max(self.gamma, TINY)
            slope_unit = 1 / LIFT
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
                slope_unit if GRADIENT else self._unit,
                float(positive[0]),
                float(background[0]),
                steepness,
                shift,
                gamma,
                gamma * LN2,
                len(pred) * triton.cdiv(pred.size(1), group),
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


def group_size(classes: int) -> int:
    """Number of classes of one anchor side by side in a tile.

    If it divides the number of classes, a thread can read several at once. If
    the largest power of 2 that does is small, some lanes stay empty instead.
    """
    divisor = math.gcd(classes, 16)
    if divisor >= 4 or classes < 4:
        return divisor

    def filled(group: int) -> float:
        return classes / (triton.cdiv(classes, group) * group)

    groups = (4, 8, 16, 32, 64, 128)
    return max(groups, key=lambda group: (min(filled(group), 0.9), group))


@lru_cache
def class_factors(
    balance: tuple[tuple[float, ...], tuple[float, ...]], device: torch.device
) -> Tensor:
    """Factors (2, C) on a device, cached there."""
    return torch.tensor(balance, dtype=torch.float32, device=device)


@triton.jit
def _log2_1p(t):
    """``log2(1 + t)`` of t in [0, 1], relative error 2e-7 even at tiny t."""
    series = tl.full(t.shape, 0.0075491509, tl.float32)
    series = series * t - 0.042566925
    series = series * t + 0.11285596
    series = series * t - 0.19711876
    series = series * t + 0.27564129
    series = series * t - 0.35840845
    series = series * t + 0.48069295
    series = series * t - 0.72134018
    series = series * t + 1.442695
    return series * t


@triton.jit
def _terms(y, gamma, gamma_ln2, STAR: tl.constexpr, GRADIENT: tl.constexpr):
    """Loss of background logits, or its derivative, times LIFT.

    A positive of logit x has the loss of a background of logit -x. All
    summands have the same sign, so nothing cancels. Divisions would cost more
    than powers.

    Args:
        y: Logits in units of ln(2), for FL* after its affine map.
        gamma: Exponent of the focal loss.
        gamma_ln2: Exponent in units of log2(e).
        STAR: Whether to compute FL*, which has no exponent and no LIFT.
        GRADIENT: Whether to compute the derivative instead of the loss.
    """
    log = _log2_1p(tl.exp2(-tl.abs(y)))
    # -log2 of the probabilities of background and of an object.
    background = tl.maximum(y, 0.0) + log
    if STAR and not GRADIENT:
        return background
    object_ = tl.maximum(-y, 0.0) + log
    if STAR:
        return tl.exp2(-object_)
    power = tl.exp2(object_ * -gamma + LIFT_BITS)
    if not GRADIENT:
        return power * background
    bend = gamma_ln2 * (tl.exp2(-background) * background)
    return power * (bend + tl.exp2(-object_))


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
    unit,
    positive,
    background,
    steepness,
    shift,
    gamma,
    gamma_ln2,
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
    """Compute losses per element, their partial sums, or the gradient.

    Logits are split into groups that each belong to one anchor, so that labels
    and weights are read once per group. A tile has one row per group.
    """
    PER_ANCHOR: tl.constexpr = (CLASSES + GROUP - 1) // GROUP
    EVEN: tl.constexpr = CLASSES % GROUP == 0
    program, programs = tl.program_id(0), tl.num_programs(0)
    row, lane = tl.arange(0, ROWS), tl.arange(0, GROUP)[None]
    total = tl.zeros((ROWS, GROUP), tl.float32)
    any_wrong = tl.zeros((ROWS, 1 if LABELS else GROUP), tl.int32)
    factor = tl.load(scale) if SCALE_IS_TENSOR else scale
    factor *= unit
    if GRADIENT and not PER_ELEMENT:
        factor *= tl.load(grad_output)
    for tile in tl.range(program, tiles, programs):
        first = tl.cast(tile, tl.int64) * ROWS
        # Indices relative to the first fit into 32 bits.
        anchor = first // PER_ANCHOR
        local = (first - anchor * PER_ANCHOR).to(tl.int32) + row
        local_anchor = local // PER_ANCHOR
        column = (local % PER_ANCHOR * GROUP)[:, None] + lane
        inside = row < tl.minimum(groups - first, ROWS).to(tl.int32)
        mask = inside[:, None]
        if EVEN:
            # Consecutive addresses that the compiler recognises.
            start = first * GROUP
            offset = (row * GROUP)[:, None] + lane
        else:
            start = anchor * CLASSES
            offset = (local_anchor * CLASSES)[:, None] + column
            mask = mask & (column < CLASSES)
        x = tl.load(pred + start + offset, mask=mask, other=0).to(tl.float32)

        if WEIGHTS == 2:
            important = tl.load(weight + start + offset, mask=mask, other=0)
            important = important.to(tl.float32)
        elif WEIGHTS == 1:
            important = tl.load(
                weight + anchor + local_anchor, mask=inside, other=0
            )
            important = important.to(tl.float32)[:, None]
        else:
            important = inside.to(tl.float32)[:, None]
        if PER_CLASS:
            known = column < CLASSES
            hit_factor = important * tl.load(
                balance + column, mask=known, other=0
            )
            miss_factor = important * tl.load(
                balance + CLASSES + column, mask=known, other=0
            )
        else:
            hit_factor = important * positive
            miss_factor = important * background

        if LABELS:
            label = tl.load(
                target + anchor + local_anchor, mask=inside, other=CLASSES
            )
            wrong = ((label < 0) | (label > CLASSES))[:, None]
            hit = column == label.to(tl.int32)[:, None]
            y = x * tl.where(hit, -steepness, steepness) - shift
            value = _terms(y, gamma, gamma_ln2, STAR, GRADIENT)
            if GRADIENT:
                hit_factor = -hit_factor
            value *= tl.where(hit, hit_factor, miss_factor)
        else:
            soft = tl.load(target + start + offset, mask=mask, other=0).to(
                tl.float32
            )
            # This form also flags NaN.
            wrong = ((soft >= 0) & (soft <= 1)) == 0
            y = x * steepness
            miss = _terms(y - shift, gamma, gamma_ln2, STAR, GRADIENT)
            hit = _terms(-y - shift, gamma, gamma_ln2, STAR, GRADIENT)
            if GRADIENT:
                hit_factor = -hit_factor
            value = (1 - soft) * miss_factor * miss + soft * hit_factor * hit
        if not EVEN:
            value = tl.where(mask, value, 0.0)

        if GRADIENT:
            if PER_ELEMENT:
                value *= tl.load(
                    grad_output + start + offset, mask=mask, other=0
                )
            tl.store(out + start + offset, value * factor, mask=mask)
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
    unit,
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
        tl.store(loss, tl.sum(total, axis=0) * (unit * factor))
    tl.store(valid, tl.sum(wrong, axis=0) == 0)

"""Focal loss star (Lin et al., arXiv 1708.02002, appendix A)."""

import math
from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from torch import Tensor

from .fused_sigmoid_loss import FusedSigmoidLoss, softplus


@MODELS.register_module()
class FocalLossStar(FusedSigmoidLoss):
    """``-alpha_t ln sigmoid(gamma x_t + beta) / gamma``, x_t signed by class.

    Cross entropy made steeper and shifted; its gamma does not compare with the
    focal loss's.

    Args:
        use_sigmoid: Only True.
        gamma: Slope, above 0.
        beta: Shift of the scaled logit, any finite number.
        alpha: As in ``FusedSigmoidLoss``.
        reduction: ``'none'``, ``'mean'`` or ``'sum'``.
        loss_weight: Factor of the result.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        use_sigmoid: bool = True,
        gamma: float = 2.0,
        beta: float = 1.0,
        alpha: float | Sequence[float] | None = None,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(use_sigmoid, alpha, reduction, loss_weight)
        if not 0 < gamma < math.inf or not math.isfinite(beta):
            raise ValueError(
                f'gamma is {gamma} and beta is {beta}: FL* divides by gamma, '
                'use one above 0, with a finite beta'
            )
        self.gamma = gamma
        self.beta = beta

    def terms(self, logits: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        return focal_star_terms(logits, self.gamma, self.beta, out)


def focal_star_terms(
    logits: Tensor, gamma: float, beta: float, out: Tensor
) -> tuple[Tensor, Tensor]:
    """``softplus(gamma x - beta) / gamma`` of background logits; slope.

    Args:
        logits: Any shape.
        gamma: Slope.
        beta: Shift.
        out: Shape (3, *logits.shape), overwritten; holds the results.
    """
    margin, value, slope = out
    torch.mul(logits, gamma, out=margin)
    margin.sub_(beta)
    softplus(margin, out=value)
    torch.sigmoid(margin, out=slope)
    return value.div_(gamma), slope

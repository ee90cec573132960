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

    A steeper and shifted cross entropy. Its gamma is not comparable to that of
    the focal loss.

    Args:
        gamma: Slope, above 0.
        beta: Shift of the scaled logit, any finite number.
        use_sigmoid, alpha, reduction, loss_weight: See ``FusedSigmoidLoss``.

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
        numbers = all(isinstance(x, (int, float)) for x in (gamma, beta))
        if not (numbers and 0 < gamma < math.inf and math.isfinite(beta)):
            raise ValueError(
                f'gamma is {gamma} and beta is {beta}: FL* divides by gamma, '
                'use a gamma above 0 and a finite beta'
            )
        self.gamma = gamma
        self.beta = beta

    def formula(self) -> tuple[bool, float, float]:
        return True, self.gamma, self.beta

    def terms(self, logits: Tensor, factor: Tensor, *out: Tensor) -> None:
        focal_star_terms(logits, factor, self.gamma, self.beta, *out)


def focal_star_terms(
    logits: Tensor,
    factor: Tensor,
    gamma: float,
    beta: float,
    value: Tensor,
    slope: Tensor,
    scratch: Tensor,
) -> None:
    """``softplus(m) / gamma`` and ``sigmoid(m)``, with m = gamma x - beta.

    Arguments are those of ``FusedSigmoidLoss.terms``.
    """
    margin = torch.mul(logits, gamma, out=scratch).sub_(beta)
    softplus(margin, out=value).mul_(factor / gamma)
    torch.sigmoid(margin, out=slope).mul_(factor)

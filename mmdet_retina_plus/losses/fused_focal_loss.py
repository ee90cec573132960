"""Focal loss (Lin et al., arXiv 1708.02002) with its gradient in one pass."""

import math
from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from torch import Tensor

from .fused_sigmoid_loss import FusedSigmoidLoss, softplus


@MODELS.register_module()
class FusedFocalLoss(FusedSigmoidLoss):
    """``-alpha_t (1 - p_t)^gamma ln p_t``, a drop-in for mmdet's FocalLoss.

    Differs from it where it is wrong: gradients are finite for gamma in (0, 1)
    and shares between 0 and 1 blend the two losses linearly.

    Args:
        use_sigmoid: Only True.
        gamma: Focusing, at least 0; 0 is (alpha-balanced) cross entropy.
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
        alpha: float | Sequence[float] | None = 0.25,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(use_sigmoid, alpha, reduction, loss_weight)
        if not 0 <= gamma < math.inf:
            raise ValueError(
                f'gamma is {gamma}: use a number of at least 0, and 0 for '
                'plain cross entropy'
            )
        self.gamma = gamma

    def terms(self, logits: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        return focal_terms(logits, self.gamma, out)


def focal_terms(
    logits: Tensor, gamma: float, out: Tensor
) -> tuple[Tensor, Tensor]:
    """``q^gamma u`` and ``q^gamma (gamma p u + q)`` of background logits.

    With p = p_t, q = 1 - p_t and u = -ln p_t. All summands have one sign, so
    nothing cancels; see the paper's appendix B for the derivative.

    Args:
        logits: Any shape.
        gamma: Focusing.
        out: Shape (3, *logits.shape), overwritten; holds the results.
    """
    q, value, slope = out
    torch.sigmoid(logits, out=q)
    softplus(logits, out=value)
    torch.mul(value, gamma, out=slope)
    torch.lerp(slope, slope.new_ones(()), q, out=slope)
    q.pow_(gamma)
    return value.mul_(q), slope.mul_(q)

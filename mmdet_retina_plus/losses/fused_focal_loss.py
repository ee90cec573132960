"""Focal loss (Lin et al., arXiv 1708.02002) with its gradient in one pass."""

import math
from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from torch import Tensor

from .fused_sigmoid_loss import FusedSigmoidLoss, softplus

# From this gamma on, p = 1 - q is computed separately in another pass: the
# gradient would show gamma times the rounding error of q.
LARGE_GAMMA = 4


@MODELS.register_module()
class FusedFocalLoss(FusedSigmoidLoss):
    """``-alpha_t (1 - p_t)^gamma ln p_t``, called like mmdet's FocalLoss.

    Equals mmdet's on labels and one-hot targets. It is exact to 1e-10 in
    float64 and 2e-5 in float32 for |logit| <= 90, above the smallest normal
    number, also for gamma in (0, 1) and a saturated logit, where the gradient
    of mmdet's is NaN. A soft target weighs the losses of both cases; mmdet's
    blends alpha_t and p_t before it computes the loss.

    Args:
        gamma: Focusing parameter, at least 0; 0 is (alpha-balanced) cross
            entropy.
        use_sigmoid, alpha, reduction, loss_weight: See ``FusedSigmoidLoss``.

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
        if not (isinstance(gamma, (int, float)) and 0 <= gamma < math.inf):
            raise ValueError(
                f'gamma is {gamma}: use a number of at least 0; 0 is plain '
                'cross entropy'
            )
        self.gamma = gamma

    def formula(self) -> tuple[bool, float, float]:
        return False, self.gamma, 0.0

    def terms(self, logits: Tensor, factor: Tensor, *out: Tensor) -> None:
        focal_terms(logits, factor, self.gamma, *out)


def focal_terms(
    logits: Tensor,
    factor: Tensor,
    gamma: float,
    value: Tensor,
    slope: Tensor,
    scratch: Tensor,
) -> None:
    """Compute ``q^gamma u`` and ``q^gamma (gamma p u + q)``.

    With p = p_t, q = 1 - p_t and u = -ln p_t. All summands have the same
    sign, so nothing cancels; see the paper's appendix B for the derivative.
    Arguments are those of ``FusedSigmoidLoss.terms``.
    """
    q = torch.sigmoid(logits, out=scratch)
    u = softplus(logits, out=value)
    if gamma > LARGE_GAMMA:
        torch.sigmoid(logits.neg(), out=slope).mul_(u).mul_(gamma).add_(q)
    else:
        torch.mul(u, gamma, out=slope)
        torch.lerp(slope, slope.new_ones(()), q, out=slope)
    q.pow_(gamma).mul_(factor)
    value.mul_(q)
    slope.mul_(q)

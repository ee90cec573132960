"""Self-adjusting smooth L1 loss (RetinaMask, Fu et al., arXiv 1901.03353)."""

import math

import torch
from mmdet.models.losses.utils import weight_reduce_loss
from mmdet.registry import MODELS
from mmengine.dist import all_reduce
from torch import Tensor, nn

from .input_checks import check_reduction, weight_matrix


@MODELS.register_module()
class SelfAdjustingSmoothL1Loss(nn.Module):
    """Smooth L1 whose beta follows the training errors, per coordinate.

    Each forward in training mode first updates the running mean and variance
    of the absolute error, then uses ``mean - variance``, clipped to
    [beta_min, beta], as beta. This follows the authors' code; the paper clips
    at 0. As in BatchNorm, ``eval()`` freezes the statistics and ``no_grad``
    does not. A forward repeated by gradient checkpointing updates them again.

    Call it once for all pyramid levels, on errors in units of stds
    (.1, .1, .2, .2).

    Args:
        beta: Largest transition point, and the initial running mean.
        beta_min: Smallest transition point, above 0.
        momentum: Fraction of the old statistics that a step keeps.
        num_features: Coordinates of a box.
        reduction: ``'none'``, ``'mean'`` or ``'sum'``.
        loss_weight: Factor of the result.
        sync: Gather statistics over all processes. Each process must then
            call the loss equally often, also without positives.

    Raises:
        ValueError: An option is out of its range.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        beta: float = 0.11,
        beta_min: float = 1e-3,
        momentum: float = 0.9,
        num_features: int = 4,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        sync: bool = False,
    ) -> None:
        super().__init__()
        if not 0 < beta_min <= beta < math.inf:
            raise ValueError(
                f'beta_min is {beta_min} and beta is {beta}: they bound the '
                'transition point, use 0 < beta_min <= beta'
            )
        if not 0 <= momentum <= 1:
            raise ValueError(
                f'momentum is {momentum}: use the fraction in [0, 1] of the '
                'old statistics to keep'
            )
        if num_features < 1:
            raise ValueError(
                f'num_features is {num_features}: boxes have 4 coordinates'
            )
        self.beta = beta
        self.beta_min = beta_min
        self.momentum = momentum
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight
        self.sync = sync
        self.register_buffer('running_mean', torch.full((num_features,), beta))
        self.register_buffer('running_var', torch.zeros(num_features))

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Compute the loss of N boxes, at least in single precision.

        Args:
            pred: Encoded boxes, shape (N, num_features).
            target: Same shape.
            weight: Same shape, or (N,). A coordinate of weight 0 does not
                count in the statistics.
            avg_factor: Divisor instead of the number of coordinates for
                ``'mean'``; ignored for ``'none'``.
            reduction_override: Replaces ``reduction``.

        Raises:
            ValueError: Shapes do not match, or ``avg_factor`` is given with
                ``'sum'``.
        """
        reduction = check_reduction(reduction_override or self.reduction)
        expected = (len(pred), self.running_mean.numel())
        if pred.shape != expected or target.shape != expected:
            raise ValueError(
                f'Boxes have shape {tuple(pred.shape)} and targets '
                f'{tuple(target.shape)} instead of {expected}: reshape them, '
                'or set num_features'
            )
        weight = weight_matrix(pred, weight)
        dtype = torch.promote_types(pred.dtype, torch.float32)
        error = (pred.to(dtype) - target.to(dtype)).abs()
        if self.training:
            self.observe(error.detach(), (weight != 0).expand_as(error))
        loss = smooth_l1(error, self.transition().to(dtype))
        if not len(loss) and reduction == 'mean' and avg_factor is None:
            reduction = 'sum'  # the mean of nothing is NaN
        return self.loss_weight * weight_reduce_loss(
            loss, weight, reduction, avg_factor
        )

    def transition(self) -> Tensor:
        """Beta of each coordinate: where the loss turns linear."""
        transition = self.running_mean - self.running_var
        return transition.clamp(self.beta_min, self.beta)

    @torch.no_grad()
    def observe(self, error: Tensor, counted: Tensor) -> None:
        """Update the statistics with those of the counted errors.

        A coordinate with fewer than two counted errors keeps its statistics.
        If any error is not finite, nothing is updated.

        Args:
            error: Shape (N, num_features).
            counted: Same shape, True where an error counts.
        """
        count, mean, var = masked_moments(error, counted, self.sync)
        moves = (count > 1) & (mean + var).isfinite().all()
        for running, batch in (
            (self.running_mean, mean),
            (self.running_var, var),
        ):
            moved = self.momentum * running + (1 - self.momentum) * batch
            running.copy_(torch.where(moves, moved, running))


def smooth_l1(error: Tensor, beta: Tensor) -> Tensor:
    """Compute ``e^2 / 2 beta`` below beta, ``e - beta / 2`` above."""
    return torch.where(
        error < beta, error.square() / (2 * beta), error - beta / 2
    )


def masked_moments(
    values: Tensor, mask: Tensor, sync: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and unbiased variance of each column where ``mask`` is True.

    A column without values has mean 0, one with a single value variance 0.

    Args:
        values: Shape (N, D).
        mask: Same shape.
        sync: Include the rows of all processes; each process must call it.
    """
    count_and_sum = torch.stack(
        (mask.sum(0).to(values.dtype), values.where(mask, 0).sum(0))
    )
    if sync:
        all_reduce(count_and_sum)
    count, total = count_and_sum
    mean = total / count.clamp(min=1)
    # A second pass, about the common mean, keeps the variance of large errors
    # exact.
    squares = (values - mean).where(mask, 0).square().sum(0)
    if sync:
        all_reduce(squares)
    return count, mean, squares / (count - 1).clamp(min=1)

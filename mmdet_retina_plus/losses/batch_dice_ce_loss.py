"""Soft dice over a batch, and cross entropy: Retina U-Net's pixel loss.

Retina U-Net: https://arxiv.org/abs/1811.08661; its authors' code is
medicaldetectiontoolkit, ``utils/model_utils.py``.
"""

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from mmdet_retina_plus.kernels import devices


@MODELS.register_module()
class BatchDiceCELoss(nn.Module):
    """Mean of soft dice loss and cross entropy, see ``batch_dice_ce_loss``.

    Class 0 is the background: the cross entropy counts it, dice does not.

    Args:
        loss_weight: Factor of the loss.
        ignore_index: Label of pixels to ignore.
        smooth: Added to numerator and denominator of dice, above 0.
        skip_absent: Skip classes without a pixel in the batch in the dice
            term. Otherwise such a class keeps the term near 1, with almost
            no gradient.

    Raises:
        ValueError: ``smooth`` is not above 0.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        ignore_index: int = 255,
        smooth: float = 1e-6,
        skip_absent: bool = False,
    ) -> None:
        super().__init__()
        if not smooth > 0:
            raise ValueError(
                f'smooth is {smooth}: use a small number above 0, since an '
                'absent class would be 0 / 0'
            )
        self.loss_weight = loss_weight
        self.ignore_index = ignore_index
        self.smooth = smooth
        self.skip_absent = skip_absent

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Compute the loss of a batch, a scalar.

        Args:
            pred: Logits of shape (N, C, H, W), background is class 0.
            target: Labels of shape (N, H, W), integers.
            weight: Weight of each pixel in both terms, shape (N, H, W).
            avg_factor: Divisor of the sum of cross entropies; the number of
                pixels that are not ignored by default.
            reduction_override: None or ``'mean'``: a batch has one dice.

        Raises:
            ValueError: Shapes, labels or the reduction do not fit.
        """
        if reduction_override not in (None, 'mean'):
            raise ValueError(
                f'reduction_override is {reduction_override!r}, but dice is '
                'one number of the whole batch: leave it out'
            )
        return self.loss_weight * batch_dice_ce_loss(
            pred,
            target,
            weight,
            avg_factor,
            ignore_index=self.ignore_index,
            smooth=self.smooth,
            skip_absent=self.skip_absent,
        )


def batch_dice_ce_loss(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    avg_factor: float | Tensor | None = None,
    ignore_index: int = 255,
    smooth: float = 1e-6,
    skip_absent: bool = False,
) -> Tensor:
    """Compute (dice loss + cross entropy) / 2.

    The dice loss is 1 - mean_c D_c over the foreground classes with D_c = (2
    sum p_c y_c + smooth) / (sum p_c + sum y_c + smooth), the sums over all
    pixels of all images, p the softmax. Half precision inputs are computed in
    single precision. If all pixels are ignored, the loss is 0 with a gradient
    of 0.

    Args:
        pred: Logits of shape (N, C, H, W), C at least 2.
        target: Labels of shape (N, H, W) in [0, C) or ``ignore_index``.
        weight: See ``BatchDiceCELoss.forward``, like all that follow.
    """
    check_maps(pred, target, weight, ignore_index)
    log_prob = pred.to(torch.promote_types(pred.dtype, torch.float32))
    log_prob = log_prob.log_softmax(dim=1)
    pixel_weight = (target != ignore_index).to(log_prob)
    num_valid = pixel_weight.sum().clamp(min=1)
    if weight is not None:
        pixel_weight = pixel_weight * weight

    cross_entropy = F.nll_loss(
        log_prob, target.long(), ignore_index=ignore_index, reduction='none'
    )
    cross_entropy = (cross_entropy * pixel_weight).sum()
    cross_entropy /= num_valid if avg_factor is None else avg_factor

    prob = log_prob[:, 1:].exp() * pixel_weight.unsqueeze(1)
    classes = torch.arange(1, pred.size(1), device=pred.device)
    truth = target.unsqueeze(1) == classes.view(1, -1, 1, 1)
    pixels = (0, 2, 3)
    intersection = (prob * truth).sum(pixels)
    num_true = (truth * pixel_weight.unsqueeze(1)).sum(pixels)
    dice = (2 * intersection + smooth) / (prob.sum(pixels) + num_true + smooth)
    counted = num_true > 0 if skip_absent else torch.ones_like(num_true)
    dice_loss = ((1 - dice) * counted).sum() / counted.sum().clamp(min=1)
    return (dice_loss + cross_entropy) / 2


def check_maps(
    pred: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int
) -> None:
    """Check that shapes and labels match.

    Raises:
        ValueError: They do not.
    """
    if pred.dim() != 4 or pred.size(1) < 2:
        raise ValueError(
            f'Logits have shape {tuple(pred.shape)}: give (N, C, H, W) with '
            'the background as the first of at least two classes'
        )
    shape = pred.shape[:1] + pred.shape[2:]
    for name, tensor in (('Labels', target), ('Weights', weight)):
        if tensor is not None and tensor.shape != shape:
            raise ValueError(
                f'{name} have shape {tuple(tensor.shape)} for logits of shape '
                f'{tuple(pred.shape)}: give one number per pixel, (N, H, W)'
            )
    fits = (target >= 0) & (target < pred.size(1)) | (target == ignore_index)
    devices.check(
        fits.all(),
        lambda: (
            f'Labels span [{target.min()}, {target.max()}] for '
            f'{pred.size(1)} classes: they are 0 for background, label + 1 '
            f'for an object, {ignore_index} for pixels to ignore; or set '
            '`num_classes` of the semantic head as that of the box head'
        ),
    )

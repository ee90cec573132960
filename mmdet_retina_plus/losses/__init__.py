"""Losses, registered in mmdet's MODELS."""

from .batch_dice_ce_loss import BatchDiceCELoss
from .focal_loss_star import FocalLossStar
from .fused_focal_loss import FusedFocalLoss
from .self_adjusting_smooth_l1_loss import SelfAdjustingSmoothL1Loss

__all__ = [
    'BatchDiceCELoss',
    'FocalLossStar',
    'FusedFocalLoss',
    'SelfAdjustingSmoothL1Loss',
]

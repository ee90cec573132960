"""Necks, registered in mmdet's MODELS."""

from .norm_fpn import NormFPN
from .unet_fpn import UNetFPN

__all__ = ['NormFPN', 'UNetFPN']

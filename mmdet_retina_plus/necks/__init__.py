"""Necks, registered in mmdet's MODELS."""

from .asff import ASFF, ASFFFPN
from .norm_fpn import NormFPN
from .unet_fpn import UNetFPN

__all__ = ['ASFF', 'ASFFFPN', 'NormFPN', 'UNetFPN']

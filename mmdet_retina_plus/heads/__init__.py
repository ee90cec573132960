"""Heads, registered in mmdet's MODELS."""

from .mask_roi_head import MaskRoIHead
from .retina_plus_head import RetinaPlusHead
from .sapd_head import SAPDHead
from .unet_semantic_head import UNetSemanticHead

__all__ = ['MaskRoIHead', 'RetinaPlusHead', 'SAPDHead', 'UNetSemanticHead']

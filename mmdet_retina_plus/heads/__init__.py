"""Heads, registered in mmdet's MODELS."""

from .mask_roi_head import MaskRoIHead
from .retina_plus_head import RetinaPlusHead
from .unet_semantic_head import UNetSemanticHead
from .yolov3_plus_head import YOLOV3PlusHead

__all__ = [
    'MaskRoIHead',
    'RetinaPlusHead',
    'UNetSemanticHead',
    'YOLOV3PlusHead',
]

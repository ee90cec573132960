"""Heads, registered in mmdet's MODELS."""

from .centernet_plus_head import CenterNetPlusHead
from .ga_retina_plus_head import GARetinaPlusHead
from .guided_yolov3_head import GuidedYOLOV3Head
from .mask_roi_head import MaskRoIHead
from .retina_plus_head import RetinaPlusHead
from .sapd_head import SAPDHead
from .ssd_plus_head import SSDPlusHead
from .unet_semantic_head import UNetSemanticHead
from .yolov3_plus_head import YOLOV3PlusHead

__all__ = [
    'CenterNetPlusHead',
    'GARetinaPlusHead',
    'GuidedYOLOV3Head',
    'MaskRoIHead',
    'RetinaPlusHead',
    'SAPDHead',
    'SSDPlusHead',
    'UNetSemanticHead',
    'YOLOV3PlusHead',
]

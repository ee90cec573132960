"""Results of several views of an image made one."""

from .patch_weight import gaussian_patch_weight, plateau_patch_weight
from .tta import MaskTTAModel
from .wbc_tta import WBCTTAModel
from .weighted_box_clustering import (
    WBC_PRESETS,
    BoxClusters,
    weighted_box_clustering,
)

__all__ = [
    'WBC_PRESETS',
    'BoxClusters',
    'MaskTTAModel',
    'WBCTTAModel',
    'gaussian_patch_weight',
    'plateau_patch_weight',
    'weighted_box_clustering',
]

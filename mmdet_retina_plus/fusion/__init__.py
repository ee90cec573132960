"""Fusion of results from several views of an image."""

from mmdet_retina_plus.kernels.weighted_box_clustering import (
    WBC_PRESETS,
    BoxClusters,
    best_members,
    weighted_box_clustering,
)

from .mask_tta import MaskTTAModel
from .patch_weight import gaussian_patch_weight, plateau_patch_weight
from .tiling import coverage_map, mean_coverage, merge_tiles, tile_windows
from .wbc_tta import WBCTTAModel

__all__ = [
    'WBC_PRESETS',
    'BoxClusters',
    'MaskTTAModel',
    'WBCTTAModel',
    'best_members',
    'coverage_map',
    'gaussian_patch_weight',
    'mean_coverage',
    'merge_tiles',
    'plateau_patch_weight',
    'tile_windows',
    'weighted_box_clustering',
]

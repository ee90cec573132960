"""Transforms of images and annotations, registered in mmdet's TRANSFORMS.

Transforms of a batch are modules, registered in MODELS.
"""

from .batch_mixup import BatchMixUp
from .load_neighbour_slices import LoadNeighbourSlices
from .paint_instances import PaintInstances
from .window_intensity import WindowedBackend, WindowIntensity

__all__ = [
    'BatchMixUp',
    'LoadNeighbourSlices',
    'PaintInstances',
    'WindowIntensity',
    'WindowedBackend',
]

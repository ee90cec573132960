"""Transforms of images and annotations, in mmdet's TRANSFORMS.

Those of a batch are modules, in MODELS.
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

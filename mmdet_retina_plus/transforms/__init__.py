"""Transforms of images and annotations, in mmdet's TRANSFORMS."""

from .load_neighbour_slices import LoadNeighbourSlices
from .paint_instances import PaintInstances
from .window_intensity import WindowedBackend, WindowIntensity

__all__ = [
    'LoadNeighbourSlices',
    'PaintInstances',
    'WindowIntensity',
    'WindowedBackend',
]

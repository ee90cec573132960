"""Results of several views of an image made one, in mmdet's MODELS."""

from .tta import MaskTTAModel

__all__ = ['MaskTTAModel']

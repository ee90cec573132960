"""Detectors, registered in mmdet's MODELS."""

from .retina_plus import RetinaPlus

__all__ = ['RetinaPlus']

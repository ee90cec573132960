"""Heads, registered in mmdet's MODELS."""

from .retina_plus_head import RetinaPlusHead

__all__ = ['RetinaPlusHead']

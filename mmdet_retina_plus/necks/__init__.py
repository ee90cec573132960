"""Necks, registered in mmdet's MODELS."""

from .norm_fpn import NormFPN

__all__ = ['NormFPN']

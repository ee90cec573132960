"""Backbones, registered in mmdet's MODELS."""

from .stem_resnet import StemResNet

__all__ = ['StemResNet']

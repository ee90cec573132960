"""Hooks of training, registered in mmdet's HOOKS."""

from .loss_statistics_hook import LossStatisticsHook

__all__ = ['LossStatisticsHook']

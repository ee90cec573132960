"""Hooks of training, registered in mmdet's HOOKS."""

from .checkpoint_files import WholeFileBackend
from .exact_resume_hook import ExactResumeHook
from .loss_statistics_hook import LossStatisticsHook

__all__ = ['ExactResumeHook', 'LossStatisticsHook', 'WholeFileBackend']

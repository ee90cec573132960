"""Runners, registered in mmengine's RUNNERS."""

from .fast_runner import FastRunner

__all__ = ['FastRunner']

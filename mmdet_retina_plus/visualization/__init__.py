"""Drawing of results, registered in mmdet's VISUALIZERS."""

from .sem_seg_local_visualizer import SemSegLocalVisualizer

__all__ = ['SemSegLocalVisualizer']

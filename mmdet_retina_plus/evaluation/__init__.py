"""Metrics, registered in mmdet's METRICS."""

from .faster_coco_metric import FasterCocoMetric

__all__ = ['FasterCocoMetric']

"""Assigners, registered in mmdet's TASK_UTILS."""

from .streaming_atss_assigner import StreamingATSSAssigner
from .streaming_max_iou_assigner import StreamingMaxIoUAssigner

__all__ = ['StreamingATSSAssigner', 'StreamingMaxIoUAssigner']

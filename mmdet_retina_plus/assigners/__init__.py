"""Assigners, registered in mmdet's TASK_UTILS.

A new one is a file named after its class, which has the decorator
``@TASK_UTILS.register_module()``, an import below, and its name in the list of
registered names in tests/test_package.py. The other modules are what several
assigners share.
"""

from .best_prior_assigner import BestPriorAssigner
from .point_range_assigner import PointRangeAssigner
from .streaming_atss_assigner import StreamingATSSAssigner
from .streaming_max_iou_assigner import StreamingMaxIoUAssigner

__all__ = [
    'BestPriorAssigner',
    'PointRangeAssigner',
    'StreamingATSSAssigner',
    'StreamingMaxIoUAssigner',
]

"""Assigners, registered in mmdet's TASK_UTILS.

To add one, write a file named after its class, with the decorator
``@TASK_UTILS.register_module()``, import it below, and add its name to the
list of registered names in tests/test_package.py. The other modules are shared
by several assigners.
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

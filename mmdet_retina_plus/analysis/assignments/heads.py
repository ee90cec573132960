"""Heads whose assignment can be shown, and how to read it."""

from collections.abc import Callable, Sequence
from typing import Any

from mmdet.models import (
    ATSSHead,
    CenterNetHead,
    FCOSHead,
    GARetinaHead,
    RetinaHead,
    RPNHead,
    SingleStageDetector,
    SSDHead,
    TwoStageDetector,
    YOLOV3Head,
)
from torch import Tensor, nn

from mmdet_retina_plus.heads import (
    GuidedYOLOV3Head,
    RetinaPlusHead,
    SAPDHead,
    YOLOV3PlusHead,
)

from .assignment import Assignment
from .read_centernet import read_centernet
from .read_labels import read_labels
from .read_sapd import read_sapd
from .read_yolo import read_yolo

Reader = Callable[[Any, Sequence[Tensor], list], Assignment]
READERS: dict[type, Reader] = {
    RetinaHead: read_labels,
    RetinaPlusHead: read_labels,
    ATSSHead: read_labels,
    FCOSHead: read_labels,
    SSDHead: read_labels,
    YOLOV3Head: read_yolo,
    YOLOV3PlusHead: read_yolo,
    GuidedYOLOV3Head: read_yolo,
    CenterNetHead: read_centernet,
    GARetinaHead: read_labels,
    SAPDHead: read_sapd,
    RPNHead: read_labels,
}
DECIDES = (
    'loss',
    'loss_by_feat',
    'loss_by_feat_single',
    'get_targets',
    '_get_targets_single',
)
"""Methods that a subclass must not override: they could change assignments."""


def dense_head(model: nn.Module) -> Any:
    """Head of a one-stage detector, or the RPN of a two-stage one.

    Raises:
        ValueError: It has no head whose assignment can be shown.
    """
    head = None
    if isinstance(model, SingleStageDetector):
        head = model.bbox_head
    elif isinstance(model, TwoStageDetector) and model.with_rpn:
        head = model.rpn_head
    if head is None or reader_of(head) is None:
        shown = type(model if head is None else head).__name__
        names = ', '.join(sorted(known.__name__ for known in READERS))
        raise ValueError(
            f'The assignment of {shown} cannot be shown: use one of these '
            f'heads, or a subclass that keeps their targets and loss: {names}'
        )
    return head


def reader_of(head: Any) -> Reader | None:
    """Reader of a head, None for an unknown head."""
    for known in type(head).__mro__:
        if known in READERS:
            return READERS[known]
        if set(DECIDES) & set(vars(known)):
            return None
    return None

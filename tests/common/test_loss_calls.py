"""Where a detector's loss is found."""

from mmdet.registry import MODELS
from mmengine.model import MMDistributedDataParallel
from torch import nn

from mmdet_retina_plus.common.loss_calls import find_bbox_head
from tests.helpers.models import detector_config


class Wrapped(MMDistributedDataParallel):
    """A wrapper to mmengine, without processes."""

    def __init__(self, module: nn.Module) -> None:
        nn.Module.__init__(self)
        self.module = module


def test_the_head_is_found_in_wrappers():
    detector = MODELS.build(detector_config())
    bbox_head = detector.bbox_head
    detector.bbox_head = Wrapped(bbox_head)
    assert find_bbox_head(Wrapped(detector)) is bbox_head
    assert find_bbox_head(Wrapped(nn.Linear(1, 1))) is None

"""SSD's head, which predicts with mmdet 3.3.0.

SSD: https://arxiv.org/abs/1512.02325
"""

from mmdet.models.dense_heads import SSDHead
from mmdet.registry import MODELS


@MODELS.register_module()
class SSDPlusHead(SSDHead):
    """mmdet's SSDHead with the attribute ``loss_cls``.

    mmdet's SSDHead computes cross entropy itself and lacks the attribute,
    which mmdet's prediction reads, so any prediction raises an AttributeError:
    https://github.com/open-mmlab/mmdetection/issues/11780

    Args:
        args, kwargs: See ``SSDHead``.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.loss_cls = None

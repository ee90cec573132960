"""CenterNet's head for images that were not cropped.

CenterNet: https://arxiv.org/abs/1904.07850
"""

from collections.abc import Sequence

from mmdet.models.dense_heads import CenterNetHead
from mmdet.registry import MODELS
from mmdet.utils import InstanceList


@MODELS.register_module()
class CenterNetPlusHead(CenterNetHead):
    """mmdet's CenterNetHead for images without a ``border`` entry.

    mmdet's head raises a KeyError unless RandomCenterCropPad has padded the
    images at test time, and so needs a special test pipeline.

    Args:
        args, kwargs: See ``CenterNetHead``.
    """

    def predict_by_feat(
        self, *args, batch_img_metas: Sequence[dict], **kwargs
    ) -> InstanceList:
        metas = [dict(border=(0,) * 4) | meta for meta in batch_img_metas]
        return super().predict_by_feat(*args, batch_img_metas=metas, **kwargs)

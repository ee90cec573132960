"""Guided anchoring on RetinaNet, in batches and on a CPU.

Guided Anchoring: https://arxiv.org/abs/1901.03278
"""

from collections.abc import Sequence

from mmdet.models.dense_heads import GARetinaHead
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor, nn


class UnmaskedConv2d(nn.Conv2d):
    """Convolution that ignores the mask and computes all locations."""

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(input)


@MODELS.register_module()
class GARetinaPlusHead(GARetinaHead):
    """mmdet's GARetinaHead that also predicts in batches and on a CPU.

    mmcv's masked convolutions skip locations that the location branch rejects,
    but support only one image, on a GPU. This head computes all locations and
    drops the rejected ones, with the same result. An image without any
    accepted location has no detections; mmdet's head raises an error.

    Args:
        args, kwargs: See ``GARetinaHead``.
    """

    def _init_layers(self) -> None:
        super()._init_layers()
        for name in ('retina_cls', 'retina_reg'):
            masked = getattr(self, name)
            plain = UnmaskedConv2d(
                masked.in_channels,
                masked.out_channels,
                masked.kernel_size,
                padding=masked.padding,
            )
            setattr(self, name, plain)

    def _predict_by_feat_single(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        mlvl_anchors: list[Tensor],
        mlvl_masks: Sequence[Tensor],
        *args,
        **kwargs,
    ) -> InstanceData:
        if not any(mask.any() for mask in mlvl_masks):
            none = cls_scores[0].new_zeros(0)
            return InstanceData(
                bboxes=none.view(0, 4), scores=none, labels=none.long()
            )
        return super()._predict_by_feat_single(
            cls_scores, bbox_preds, mlvl_anchors, mlvl_masks, *args, **kwargs
        )

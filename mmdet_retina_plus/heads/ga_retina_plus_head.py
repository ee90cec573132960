"""Guided anchoring on RetinaNet, in batches and on a CPU.

Guided Anchoring: https://arxiv.org/abs/1901.03278
"""

from collections.abc import Sequence

from mmdet.models.dense_heads import GARetinaHead
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor, nn


class UnmaskedConv2d(nn.Conv2d):
    """Convolution that computes all locations, whatever the mask."""

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(input)


@MODELS.register_module()
class GARetinaPlusHead(GARetinaHead):
    """mmdet's GARetinaHead, which predicts in batches and on a CPU, too.

    mmcv's masked convolutions skip locations that the location branch refuses;
    they know one image at a time, on a GPU. Here these are computed and
    dropped afterwards, which changes no result. An image without any location
    has no detections, where the other raises an error.

    Args:
        args, kwargs: As ``GARetinaHead``.
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

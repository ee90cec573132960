"""Semantic head on a U-Net's finest level, for Retina U-Net.

Retina U-Net: https://arxiv.org/abs/1811.08661, section 2
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.models.seg_heads.base_semantic_head import BaseSemanticHead
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import OptConfigType, OptMultiConfig
from torch import Tensor, nn

from .build_checks import check_per_class

IGNORE_INDEX = 255


@MODELS.register_module()
class UNetSemanticHead(BaseSemanticHead):
    """A 1x1 convolution on the finest level, with a loss over its pixels.

    Channel 0 is the background. The ground truth is ``gt_sem_seg`` of
    ``PaintInstances``: 0, label + 1 or 255, which the loss ignores.

    Args:
        num_classes: Number of object classes, without background.
        in_channels: Number of channels of the finest level.
        class_specific: Use a channel per class; otherwise one for all
            objects, as in the paper.
        loss_seg: Called with logits (N, C, H, W) and labels (N, H, W). Its
            ``ignore_index`` must be 255. ``BatchDiceCELoss`` by default.
        init_cfg: See ``BaseModule``.

    Raises:
        ValueError: ``loss_seg`` ignores another label or none, or its
            ``class_weight`` does not have one number per channel.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        class_specific: bool = False,
        loss_seg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(
            num_classes,
            seg_rescale_factor=1.0,
            loss_seg=loss_seg or dict(type='BatchDiceCELoss'),
            init_cfg=init_cfg,
        )
        if getattr(self.loss_seg, 'ignore_index', None) != IGNORE_INDEX:
            raise ValueError(
                f'Pixels without a label are {IGNORE_INDEX}, and loss_seg has '
                f'no ignore_index={IGNORE_INDEX}: add it where the loss takes '
                "it, as dict(type='BatchDiceCELoss') and "
                "dict(type='CrossEntropyLoss') do"
            )
        self.class_specific = class_specific
        self.conv_seg = nn.Conv2d(
            in_channels, 1 + (num_classes if class_specific else 1), 1
        )
        check_per_class(
            self.loss_seg,
            'class_weight',
            self.conv_seg.out_channels,
            'loss_seg',
        )

    def forward(self, x: Sequence[Tensor]) -> dict[str, Tensor]:
        """Compute logits ``seg_preds`` of the size of the finest level.

        Args:
            x: All levels of the neck, the finest first.
        """
        return dict(seg_preds=self.conv_seg(x[0]))

    def loss(
        self, x: Sequence[Tensor], batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Compute ``loss_seg``, 0 if no pixel has a label.

        Args:
            x: All levels of the neck, the finest first.
            batch_data_samples: With ``gt_sem_seg`` of the batch's size.

        Raises:
            ValueError: A map is missing or has another size.
        """
        logits = self(x)['seg_preds']
        labels = stack_maps(batch_data_samples)
        if logits.shape[-2:] != labels.shape[-2:]:
            logits = F.interpolate(
                logits,
                size=labels.shape[-2:],
                mode='bilinear',
                align_corners=False,
            )
        if not self.class_specific:
            objects = (labels != 0) & (labels != IGNORE_INDEX)
            labels = labels.masked_fill(objects, 1)
        return dict(loss_seg=self.loss_seg(logits, labels.long()))


def stack_maps(batch_data_samples: SampleList) -> Tensor:
    """Stack the maps of a batch, shape (N, H, W).

    Raises:
        ValueError: A sample has no map, or one that is not padded.
    """
    if not all('gt_sem_seg' in sample for sample in batch_data_samples):
        raise ValueError(
            'A semantic head needs `gt_sem_seg`: put '
            "dict(type='PaintInstances') before PackDetInputs, and "
            "dict(type='LoadAnnotations', with_bbox=True, with_mask=True)"
        )
    maps = [sample.gt_sem_seg.sem_seg[0] for sample in batch_data_samples]
    size = tuple(batch_data_samples[0].batch_input_shape)
    for seg_map in maps:
        if tuple(seg_map.shape) != size:
            raise ValueError(
                f'A map of {tuple(seg_map.shape)} pixels comes with images '
                f'padded to {size}: set `model.data_preprocessor.pad_seg=True`'
                ', and `seg_pad_value=255`'
            )
    return torch.stack(maps)

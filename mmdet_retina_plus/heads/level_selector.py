"""SAPD's meta-selection: a network that weights pyramid levels per object.

SAPD: https://arxiv.org/abs/1911.12448, section 3.2
"""

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi, get_box_tensor
from mmdet.utils import InstanceList
from mmengine.model import BaseModule
from torch import Tensor, nn

from .roi_levels import for_roi_align

NUM_CONVS = 3


class LevelSelector(BaseModule):
    """Predict a logit per object and level from the object's features.

    RoIAlign pools 7 x 7 cells of the object's box from every level; three 3x3
    convolutions without padding reduce them to one cell.

    Args:
        in_channels: Number of channels of each level.
        strides: Stride of each level.
        feat_channels: Number of channels of the convolutions.
    """

    def __init__(
        self, in_channels: int, strides: Sequence[int], feat_channels: int
    ) -> None:
        super().__init__(
            init_cfg=dict(type='Normal', layer=['Conv2d', 'Linear'], std=0.01)
        )
        channels = in_channels * len(strides)
        self.roi_extractor = MODELS.build(
            dict(
                type='GenericRoIExtractor',
                aggregation='concat',
                roi_layer=dict(
                    type='RoIAlign',
                    output_size=2 * NUM_CONVS + 1,
                    sampling_ratio=0,
                ),
                out_channels=channels,
                featmap_strides=list(strides),
            )
        )
        self.convs = nn.Sequential(
            *(
                ConvModule(
                    feat_channels if index else channels, feat_channels, 3
                )
                for index in range(NUM_CONVS)
            )
        )
        self.fc = nn.Linear(feat_channels, len(strides))

    def forward(
        self, x: Sequence[Tensor], batch_gt_instances: InstanceList
    ) -> Tensor:
        """Compute the logits of all G objects of the batch, shape (G, L).

        Args:
            x: Levels of the pyramid, each (N, C, H_l, W_l).
            batch_gt_instances: Ground truth of each image.
        """
        levels = for_roi_align(x)
        rois = bbox2roi(
            [get_box_tensor(gt.bboxes) for gt in batch_gt_instances]
        )
        # The convolutions are double in tests only.
        pooled = self.roi_extractor(levels, rois.to(levels[0]))
        return self.fc(self.convs(pooled.to(x[0].dtype)).flatten(1))

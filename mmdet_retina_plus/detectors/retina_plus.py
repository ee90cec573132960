"""RetinaNet with two optional slots: a RoI head and a semantic head.

RetinaNet (https://arxiv.org/abs/1708.02002) uses neither, RetinaMask
(https://arxiv.org/abs/1901.03353) the first, Retina U-Net
(https://arxiv.org/abs/1811.08661) the second.
"""

from collections.abc import Sequence
from typing import Any

from mmdet.models.detectors import SingleStageDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import OptConfigType
from mmengine.structures import PixelData
from torch import Tensor, nn


@MODELS.register_module()
class RetinaPlus(SingleStageDetector):
    """Single-stage detector with optional heads on its detections and pixels.

    Args:
        args: See ``SingleStageDetector``.
        roi_head: Head on the detections, with mmdet's RoI head interface:
            ``loss(x, results_list, batch_data_samples)`` and
            ``predict(x, results_list, batch_data_samples, rescale)``. It gets
            all levels of the neck (at test time None for the first if the
            decoder is skipped and its ``start_level`` is above 0) and the
            detections selected by ``test_cfg``: boxes (n, 4) in network
            coordinates, best first, without gradient. ``with_mask=False`` in
            its ``test_cfg`` skips it at test time.
        semantic_head: Head on all levels of the neck, with mmdet's
            ``loss(x, batch_data_samples)`` and ``predict(x, batch_img_metas,
            rescale)``. It predicts if ``test_cfg`` has ``with_seg=True``;
            results then have ``pred_sem_seg``, shape (1, H, W): 0 is
            background, other values are label + 1, or all 1 if the head is not
            ``class_specific``, which the metainfo ``label_names`` shows.
        bbox_start_level: Index of the finest level for the box head.
        kwargs: See ``SingleStageDetector``.

    Raises:
        ValueError: Box head and another head differ in ``num_classes``.
    """

    def __init__(
        self,
        *args,
        roi_head: OptConfigType = None,
        semantic_head: OptConfigType = None,
        bbox_start_level: int = 0,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.bbox_start_level = bbox_start_level
        if roi_head is not None:
            self.roi_head = MODELS.build(roi_head)
            check_num_classes(self.bbox_head, self.roi_head)
        if semantic_head is not None:
            self.semantic_head = MODELS.build(semantic_head)
            check_num_classes(self.bbox_head, self.semantic_head)

    @property
    def with_roi_head(self) -> bool:
        return hasattr(self, 'roi_head')

    @property
    def with_semantic(self) -> bool:
        return hasattr(self, 'semantic_head')

    def init_weights(self) -> None:
        try:
            super().init_weights()
        # torchvision:// needs torchvision, which may not know the name; all
        # others need a network.
        except (OSError, ImportError, KeyError) as error:
            raise OSError(
                'Pretrained weights cannot be loaded, '
                f'{type(error).__name__}: {error}. Set a local '
                'file by `--cfg-options model.backbone.init_cfg.checkpoint='
                'FILE`; or `pip install torchvision` for torchvision://; or '
                'train from scratch by `model.backbone.init_cfg=None '
                'model.backbone.frozen_stages=-1 '
                'model.backbone.norm_eval=False`'
            ) from error

    def loss(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> dict:
        levels = self.extract_feat(batch_inputs)
        bbox_levels = levels[self.bbox_start_level :]
        if self.with_roi_head:
            losses, detections = self.bbox_head.loss_and_predict(
                bbox_levels, batch_data_samples
            )
            losses |= self.roi_head.loss(
                levels,
                [detection.detach() for detection in detections],
                batch_data_samples,
            )
        else:
            losses = self.bbox_head.loss(bbox_levels, batch_data_samples)
        if self.with_semantic:
            losses |= self.semantic_head.loss(levels, batch_data_samples)
        return losses

    def predict(
        self,
        batch_inputs: Tensor,
        batch_data_samples: SampleList,
        rescale: bool = True,
        with_mask: bool = True,
    ) -> SampleList:
        """Predict like ``SingleStageDetector``.

        Args:
            batch_inputs: Images, shape (N, 3, H, W).
            batch_data_samples: One per image; the results are added to them.
            rescale: Whether to return coordinates of the original images.
            with_mask: Whether to run the RoI head, unless its ``test_cfg``
                skips it.
        """
        levels = self.levels_at_test_time(batch_inputs, with_mask)
        return self.predict_by_feat(
            levels, batch_data_samples, rescale, with_mask
        )

    def predict_by_feat(
        self,
        levels: Sequence[Tensor],
        batch_data_samples: SampleList,
        rescale: bool = True,
        with_mask: bool = True,
    ) -> SampleList:
        """Predict from the levels of ``levels_at_test_time``.

        Args:
            levels: Levels of the neck.
            batch_data_samples: See ``predict``, like all that follow.
        """
        bbox_levels = levels[self.bbox_start_level :]
        in_use = with_mask and self._runs_roi_head
        # RoIAlign needs boxes in network coordinates; the RoI head rescales.
        detections = self.bbox_head.predict(
            bbox_levels, batch_data_samples, rescale=rescale and not in_use
        )
        if in_use:
            detections = self.roi_head.predict(
                levels, detections, batch_data_samples, rescale=rescale
            )
        samples = self.add_pred_to_datasample(batch_data_samples, detections)
        if self._predicts_pixels:
            logits = self.semantic_head.predict(
                levels, [sample.metainfo for sample in samples], rescale
            )
            names = {}
            if not getattr(self.semantic_head, 'class_specific', True):
                names['label_names'] = ('background', 'object')
            for sample, logit in zip(samples, logits, strict=True):
                sample.pred_sem_seg = PixelData(
                    metainfo=names,
                    sem_seg=logit.argmax(dim=0, keepdim=True),
                )
        return samples

    def _forward(
        self,
        batch_inputs: Tensor,
        batch_data_samples: SampleList | None = None,
    ) -> tuple[list[Tensor], ...]:
        """Compute raw outputs of the box head, for FLOP counts and export."""
        levels = self.levels_at_test_time(batch_inputs)
        return self.bbox_head(levels[self.bbox_start_level :])

    @property
    def _predicts_pixels(self) -> bool:
        asked = (self.test_cfg or {}).get('with_seg', False)
        return self.with_semantic and asked

    @property
    def _runs_roi_head(self) -> bool:
        """Whether the RoI head runs at test time."""
        test_cfg = getattr(getattr(self, 'roi_head', None), 'test_cfg', None)
        return self.with_roi_head and (test_cfg or {}).get('with_mask', True)

    def levels_at_test_time(
        self, batch_inputs: Tensor, with_mask: bool = True
    ) -> Sequence[Tensor]:
        """Compute the levels of the neck; P0 is None if nothing needs it.

        Args:
            batch_inputs: Images, shape (N, 3, H, W).
            with_mask: See ``predict``.
        """
        starts = [self.bbox_start_level]
        if with_mask and self._runs_roi_head:
            starts.append(getattr(self.roi_head, 'start_level', 0))
        neck = getattr(self, 'neck', None)
        skips = getattr(neck, 'can_skip_decoder', False) and min(starts) > 0
        if self._predicts_pixels or not skips:
            return self.extract_feat(batch_inputs)
        return self.neck(self.backbone(batch_inputs), decode=False)


def check_num_classes(bbox_head: nn.Module, other: Any) -> None:
    """Check that a mask or semantic head has an output per class.

    Raises:
        ValueError: ``num_classes`` differ, as if a config changes only one.
    """
    if hasattr(other, 'mask_head'):
        place, other = 'roi_head.mask_head', other.mask_head
        specific = not getattr(other, 'class_agnostic', True)
    else:
        place = 'semantic_head'
        specific = getattr(other, 'class_specific', False)
    if specific and other.num_classes != bbox_head.num_classes:
        raise ValueError(
            f'bbox_head has {bbox_head.num_classes} classes and {place} '
            f'{other.num_classes}: set num_classes of both to the number of '
            'classes in `metainfo`'
        )

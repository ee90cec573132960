"""Test-time augmentation by weighted box clustering.

Retina U-Net, https://arxiv.org/abs/1811.08661.
"""

from collections.abc import Mapping, Sequence

import torch
from mmdet.models import DetTTAModel
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from mmdet.utils import ConfigType, OptConfigType
from mmengine.structures import InstanceData
from torch import nn

from mmdet_retina_plus.kernels.weighted_box_clustering import (
    WBC_PRESETS,
    weighted_box_clustering,
)

from .mask_tta import check_views


@MODELS.register_module()
class WBCTTAModel(DetTTAModel):
    """Boxes from an image's flipped and scaled views, by consensus.

    Every view is expected to find every object: what one of four has found
    alone keeps a quarter of its score. Works with any of mmdet's detectors,
    whose boxes come back from the views as in ``DetTTAModel``.

    Args:
        module: Detector of boxes.
        tta_cfg: ``preset``, a name in ``WBC_PRESETS``, ``'paper'`` by default;
            ``max_per_img``, 100 by default; and any of the preset's arguments
            of ``weighted_box_clustering``, to be used instead.
        kwargs: As ``DetTTAModel``.

    Raises:
        ValueError: ``tta_cfg`` has an unknown key or preset.
    """

    def __init__(
        self,
        module: ConfigType | nn.Module,
        tta_cfg: OptConfigType = None,
        **kwargs,
    ) -> None:
        options, self.max_per_img = read_options(tta_cfg or {})
        super().__init__(tta_cfg=options, module=module, **kwargs)

    def test_step(self, data: dict) -> SampleList:
        """Merged results of a batch's images.

        Args:
            data: ``inputs`` and ``data_samples``, each a list of views, each
                of these a list of images.

        Raises:
            ValueError: The views do not say how they came about, or the
                detector predicts masks.
        """
        check_views(data['data_samples'])
        return super().test_step(data)

    def _merge_single_sample(
        self, data_samples: Sequence[DetDataSample]
    ) -> DetDataSample:
        views = [sample.pred_instances for sample in data_samples]
        if any('masks' in view for view in views):
            raise ValueError(
                f'{type(self).__name__} merges boxes, and this detector '
                'predicts masks: leave them out with '
                'model.roi_head.test_cfg.with_mask=False, or merge both with '
                "tta_model=dict(type='MaskTTAModel')"
            )
        boxes, scores = self.merge_aug_bboxes(
            [view.bboxes for view in views],
            [view.scores for view in views],
            [sample.metainfo for sample in data_samples],
        )
        labels = torch.cat([view.labels for view in views])
        view_ids = torch.cat(
            [
                torch.full_like(view.labels, number)
                for number, view in enumerate(views)
            ]
        )
        clusters = weighted_box_clustering(
            boxes,
            scores,
            labels,
            view_ids,
            n_expected=len(views),
            **self.tta_cfg,
        )
        # As in DetTTAModel the first view's sample holds the results.
        merged = data_samples[0]
        merged.pred_instances = InstanceData(
            bboxes=clusters.boxes,
            scores=clusters.scores,
            labels=clusters.labels,
        )[: self.max_per_img]
        return merged


def read_options(tta_cfg: Mapping) -> tuple[dict, int]:
    """Arguments of ``weighted_box_clustering``, and ``max_per_img``.

    Raises:
        ValueError: A key is unknown or a value impossible.
    """
    options = dict(tta_cfg)
    preset = options.pop('preset', 'paper')
    if preset not in WBC_PRESETS:
        raise ValueError(
            f'tta_cfg has no preset {preset!r}: take one of '
            f'{", ".join(WBC_PRESETS)}'
        )
    max_per_img = options.pop('max_per_img', 100)
    if max_per_img < 1:
        raise ValueError(
            f'max_per_img must be 1 or more, not {max_per_img}: take a large '
            'number to keep all boxes'
        )
    unknown = options.keys() - WBC_PRESETS[preset].keys()
    if unknown:
        valid = ('preset', 'max_per_img', *WBC_PRESETS[preset])
        raise ValueError(
            f'tta_cfg has no {", ".join(sorted(unknown))}: WBCTTAModel knows '
            f'{", ".join(valid)}'
        )
    options = {**WBC_PRESETS[preset], **options}
    # What cannot be shows now, not after the first image.
    none = torch.zeros(0, 4)
    weighted_box_clustering(none, none[:, 0], none[:, 0].long(), **options)
    return options, max_per_img

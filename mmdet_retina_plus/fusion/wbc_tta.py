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
    """Merge boxes of an image's flipped and scaled views by clustering.

    Every view is expected to find every object: a box found by one of four
    views keeps a quarter of its score. Works with any detector of mmdet. Boxes
    are mapped back from the views as in ``DetTTAModel``.

    Args:
        module: Detector of boxes.
        tta_cfg: ``preset``, a name in ``WBC_PRESETS``, ``'paper'`` by default;
            ``max_per_img``, 100 by default; and arguments of
            ``weighted_box_clustering`` that override the preset.
        kwargs: See ``DetTTAModel``.

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
        """Predict a batch of images and merge the results of their views.

        Args:
            data: ``inputs`` and ``data_samples``, each a list of views, which
                are lists of images.

        Raises:
            ValueError: The views have no metadata of their transforms, or the
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
                f'{type(self).__name__} merges boxes, but this detector '
                'predicts masks: disable them with '
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
        # As in DetTTAModel, the sample of the first view holds the results.
        merged = data_samples[0]
        merged.pred_instances = InstanceData(
            bboxes=clusters.boxes,
            scores=clusters.scores,
            labels=clusters.labels,
        )[: self.max_per_img]
        return merged


def read_options(tta_cfg: Mapping) -> tuple[dict, int]:
    """Read arguments of ``weighted_box_clustering`` and ``max_per_img``.

    Raises:
        ValueError: A key is unknown or a value out of its range.
    """
    options = dict(tta_cfg)
    preset = options.pop('preset', 'paper')
    if preset not in WBC_PRESETS:
        raise ValueError(
            f'tta_cfg has no preset {preset!r}: use one of '
            f'{", ".join(WBC_PRESETS)}'
        )
    max_per_img = options.pop('max_per_img', 100)
    if max_per_img < 1:
        raise ValueError(
            f'max_per_img must be 1 or more, not {max_per_img}: use a large '
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
    # Validate options now, not at the first image.
    none = torch.zeros(0, 4)
    weighted_box_clustering(none, none[:, 0], none[:, 0].long(), **options)
    return options, max_per_img

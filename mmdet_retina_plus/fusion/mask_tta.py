"""Test-time augmentation of boxes and masks, as in Mask R-CNN.

He et al., https://arxiv.org/abs/1703.06870; Detectron2 has it in
detectron2/modeling/test_time_augmentation.py.
"""

from collections.abc import Sequence

import torch
from mmdet.models import DetTTAModel
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_flip, scale_boxes
from mmdet.utils import ConfigType, OptConfigType
from mmengine.config import ConfigDict
from torch import Tensor, nn

TTA_CFG = dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
NEEDED_KEYS = (
    'ori_shape',
    'img_shape',
    'scale_factor',
    'flip',
    'flip_direction',
)
FLIPPED_AXES = dict(horizontal=(-1,), vertical=(-2,), diagonal=(-2, -1))


@MODELS.register_module()
class MaskTTAModel(DetTTAModel):
    """Merge boxes and masks of an image's flipped and scaled views.

    Boxes are merged as in ``DetTTAModel``. Then the mask head predicts the
    merged boxes in every view, on the features already computed, and the mean
    of its probabilities, flipped back, gives the masks.

    With ``with_mask=False`` in the RoI head's ``test_cfg`` this is a
    ``DetTTAModel``. Memory holds the features of all views of a batch.

    Args:
        module: ``RetinaPlus`` with a RoI head such as ``MaskRoIHead``, which
            has ``pooled_levels``, ``mask_logits`` and ``paste``.
        tta_cfg: See ``DetTTAModel``; ``TTA_CFG`` by default.
        kwargs: See ``DetTTAModel``.

    Raises:
        ValueError: The detector predicts no masks or lacks these methods.
    """

    def __init__(
        self,
        module: ConfigType | nn.Module,
        tta_cfg: OptConfigType = None,
        **kwargs,
    ) -> None:
        super().__init__(
            tta_cfg=ConfigDict(tta_cfg or TTA_CFG), module=module, **kwargs
        )
        roi_head = getattr(self.module, 'roi_head', None)
        steps = {
            'levels_at_test_time': self.module,
            'predict_by_feat': self.module,
            'pooled_levels': roi_head,
            'mask_logits': roi_head,
            'paste': roi_head,
        }
        missing = [
            name for name, owner in steps.items() if not hasattr(owner, name)
        ]
        if missing:
            raise ValueError(
                f'{type(self).__name__} needs a RetinaPlus with a '
                f'MaskRoIHead, {type(self.module).__name__} has no '
                f'{", ".join(missing)}: for boxes only use '
                "tta_model=dict(type='DetTTAModel')"
            )

    def test_step(self, data: dict) -> SampleList:
        """Predict a batch of images and merge the results of their views.

        Args:
            data: ``inputs`` and ``data_samples``, each a list of views, which
                are lists of images.

        Raises:
            ValueError: The views have no metadata of their transforms.
        """
        check_views(data['data_samples'])
        roi_head = self.module.roi_head
        if not roi_head.test_cfg.with_mask:
            return super().test_step(data)
        levels_of_views, predictions = [], []
        for inputs, samples in zip(
            data['inputs'], data['data_samples'], strict=True
        ):
            view = self.module.data_preprocessor(
                dict(inputs=inputs, data_samples=samples)
            )
            levels = self.module.levels_at_test_time(view['inputs'])
            # The masks of the unmerged boxes are not needed.
            samples = self.module.predict_by_feat(
                levels, view['data_samples'], with_mask=False
            )
            levels_of_views.append(roi_head.pooled_levels(levels, samples))
            predictions.append(samples)
        # The merged results are in the first view's samples.
        merged = self.merge_preds(list(zip(*predictions, strict=True)))
        boxes = [
            sample.pred_instances.bboxes[: roi_head.test_cfg.max_masks]
            for sample in merged
        ]
        masks = self._mean_masks(levels_of_views, predictions, boxes)
        for sample, mask in zip(merged, masks, strict=True):
            # The boxes are already in the original image.
            sample.pred_instances = roi_head.paste(
                mask.logit(),
                sample.pred_instances,
                dict(ori_shape=sample.ori_shape, scale_factor=(1.0, 1.0)),
                rescale=True,
            )
        return merged

    def _mean_masks(
        self,
        levels_of_views: Sequence[Sequence[Tensor]],
        predictions: Sequence[SampleList],
        boxes: Sequence[Tensor],
    ) -> list[Tensor]:
        """Average the probabilities (n, num_classes, h, w) of each image.

        Args:
            levels_of_views: Levels of each view to pool from.
            predictions: Samples of each view.
            boxes: Boxes of each image, shape (n, 4), in the original image.
        """
        views = []
        for levels, samples in zip(levels_of_views, predictions, strict=True):
            metas = [sample.metainfo for sample in samples]
            logits = self.module.roi_head.mask_logits(
                levels, list(map(boxes_in_view, boxes, metas))
            )
            views.append(
                [
                    flip_masks(logit.sigmoid(), meta)
                    for logit, meta in zip(logits, metas, strict=True)
                ]
            )
        return [
            torch.stack(masks).mean(dim=0)
            for masks in zip(*views, strict=True)
        ]


def check_views(views: Sequence[SampleList]) -> None:
    """Check that views have the metadata of their transforms.

    Raises:
        ValueError: The pipeline makes no views, or drops the metadata.
    """
    if not all(isinstance(samples, Sequence) for samples in views):
        raise ValueError(
            'The test pipeline makes no views of an image: test with '
            '`mim test mmdet CONFIG --checkpoint FILE --tta`, and a '
            "tta_pipeline that ends in dict(type='TestTimeAug')"
        )
    missing = {
        key
        for samples in views
        for sample in samples
        for key in NEEDED_KEYS
        if key not in sample.metainfo
    }
    if missing:
        raise ValueError(
            f'Views have no {", ".join(sorted(missing))}: TestTimeAug needs a '
            "Resize with keep_ratio=True; a dict(type='RandomFlip', "
            'prob=0.0), even for views without flips; and at the end a '
            "dict(type='PackDetInputs') with all of them in its meta_keys"
        )


def boxes_in_view(boxes: Tensor, meta: dict) -> Tensor:
    """Map boxes (n, 4) from the original image to a view."""
    if meta['flip']:
        # As DetTTAModel maps back; img_shape may include padding after the
        # flip.
        boxes = bbox_flip(boxes, meta['ori_shape'], meta['flip_direction'])
    return scale_boxes(boxes, meta['scale_factor'])


def flip_masks(masks: Tensor, meta: dict) -> Tensor:
    """Flip masks (..., h, w) of a view back to the original image."""
    if not meta['flip']:
        return masks
    return masks.flip(FLIPPED_AXES[meta['flip_direction']])

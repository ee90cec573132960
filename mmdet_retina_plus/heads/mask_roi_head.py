"""RetinaMask's mask branch (Fu et al., https://arxiv.org/abs/1901.03353)."""

from collections.abc import Sequence

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox2roi, scale_boxes
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import ConfigType, InstanceList, OptConfigType
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from mmengine.utils import to_2tuple
from torch import Tensor

from .build_checks import check_mask_loss
from .roi_levels import for_roi_align
from .shared_bitmaps import SharedBitmaps

TRAIN_CFG = dict(
    assigner=dict(
        type='MaxIoUAssigner',
        pos_iou_thr=0.5,
        neg_iou_thr=0.5,
        min_pos_iou=0.5,
        match_low_quality=False,
        ignore_iof_thr=-1,
    ),
    # All boxes that match an object, and the objects themselves. The loss
    # needs neither negatives nor a limit.
    sampler=dict(
        type='RandomSampler',
        num=2**31,
        pos_fraction=1.0,
        neg_pos_ub=0,
        add_gt_as_proposals=True,
    ),
    mask_size=28,
    soft_mask_target=False,
    # mmdet's RoI heads require these two; masks do not use them.
    pos_weight=-1,
    debug=False,
)
TEST_CFG = dict(
    with_mask=True, max_masks=50, keep_all_boxes=True, mask_thr_binary=0.5
)
BOX_OPTIONS = {'score_thr', 'nms', 'max_per_img', 'min_bbox_size', 'nms_pre'}
PASTED_PIXELS = 2**24
"""Mask pixels pasted at once; each takes 16 bytes on a GPU."""


@MODELS.register_module()
class MaskRoIHead(StandardRoIHead):
    """Predict masks on the detections of a single-stage detector.

    In training, masks are predicted for each image's detections that match an
    object at IoU .5, and for the ground truth boxes. Targets are the class and
    mask of the matched object. No gradient reaches the boxes. The loss is the
    mean binary cross entropy over all pixels of all matched boxes, 0 without
    boxes.

    At test time, masks are predicted for the first ``max_masks`` detections,
    in the order of their scores. ``keep_all_boxes=True`` returns the others
    with an empty mask and ``mask_scores`` of 0, which mmdet's COCO metrics
    rank last, so box AP is that of all boxes. ``False`` drops them, as the
    authors' code does.

    Args:
        mask_roi_extractor: See ``StandardRoIHead``.
        mask_head: See ``StandardRoIHead``.
        start_level: Index of the finest level of the neck to pool from.
        train_cfg: Changes to ``TRAIN_CFG``: ``assigner``, ``sampler`` (its
            ``num`` limits the boxes per image), ``mask_size`` in pixels,
            ``soft_mask_target``. An assigner or sampler without ``type``
            changes options of the default one, as in
            ``dict(assigner=dict(pos_iou_thr=0.6))``.
        test_cfg: Changes to ``TEST_CFG``: ``with_mask`` (``False``: boxes
            only, as fast as RetinaNet), ``max_masks``, ``keep_all_boxes``,
            ``mask_thr_binary`` (below 0: masks are probabilities times 255,
            uint8).
        init_cfg: See ``StandardRoIHead``.

    Raises:
        ValueError: ``max_masks`` is not a number of at least 0, an option is
            unknown, or the mask loss has class weights.
    """

    def __init__(
        self,
        mask_roi_extractor: ConfigType,
        mask_head: ConfigType,
        start_level: int = 0,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        init_cfg: OptConfigType = None,
    ) -> None:
        super().__init__(
            mask_roi_extractor=mask_roi_extractor,
            mask_head=mask_head,
            train_cfg=merge_options('train_cfg', TRAIN_CFG, train_cfg),
            test_cfg=merge_options('test_cfg', TEST_CFG, test_cfg),
            init_cfg=init_cfg,
        )
        max_masks = self.test_cfg.max_masks
        if not isinstance(max_masks, int) or max_masks < 0:
            raise ValueError(
                f'max_masks is {max_masks}: use 0 or more; use max_per_img of '
                'the box head for masks of all detections'
            )
        check_mask_loss(getattr(self.mask_head, 'loss_mask', None))
        self.start_level = start_level

    def loss(
        self,
        x: Sequence[Tensor],
        rpn_results_list: InstanceList,
        batch_data_samples: SampleList,
    ) -> dict[str, Tensor]:
        """Compute ``loss_mask`` and log the mean number of boxes per image.

        Args:
            x: Levels of the neck, each of shape (N, C, H, W).
            rpn_results_list: Detections of each image with ``bboxes`` (n, 4)
                and ``labels``, in network coordinates.
            batch_data_samples: Ground truth with ``bboxes``, ``labels`` and
                ``masks``.

        Raises:
            ValueError: The ground truth has no masks, or the strides of the
                levels differ from those of the RoI extractor.
        """
        gt_instances, ignored_instances, _ = unpack_gt_instances(
            batch_data_samples
        )
        check_masks_are_loaded(gt_instances)
        sampling_results = []
        for detections, gt, ignored in zip(
            rpn_results_list, gt_instances, ignored_instances, strict=True
        ):
            priors = InstanceData(priors=detections.bboxes)
            assigned = self.bbox_assigner.assign(priors, gt, ignored)
            sampling_results.append(
                self.bbox_sampler.sample(assigned, priors, gt)
            )
        results = self.mask_loss(
            self.pooled_levels(x, batch_data_samples),
            sampling_results,
            None,
            [share_bitmaps(gt) for gt in gt_instances],
        )
        count = sum(len(result.pos_priors) for result in sampling_results)
        return dict(
            results['loss_mask'],
            # Half precision would round it.
            num_mask_rois=torch.tensor(
                count / len(sampling_results), device=x[0].device
            ),
        )

    def predict(
        self,
        x: Sequence[Tensor],
        rpn_results_list: InstanceList,
        batch_data_samples: SampleList,
        rescale: bool = False,
    ) -> InstanceList:
        """Add ``masks`` and ``mask_scores`` to the detections.

        Args:
            x: Levels of the neck, each of shape (N, C, H, W).
            rpn_results_list: Detections of each image in network coordinates,
                best first.
            batch_data_samples: Meta information of the images.
            rescale: Whether to return boxes and masks of the original image
                size.

        Returns:
            Detections with ``masks`` (n, H, W), bool, and ``mask_scores``
            (n,).
        """
        metas = [sample.metainfo for sample in batch_data_samples]
        logits = self.mask_logits(
            self.pooled_levels(x, batch_data_samples),
            [
                results.bboxes[: self.test_cfg.max_masks]
                for results in rpn_results_list
            ],
        )
        return [
            self.paste(*args, rescale=rescale)
            for args in zip(logits, rpn_results_list, metas, strict=True)
        ]

    def mask_logits(
        self, levels: Sequence[Tensor], boxes: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        """Compute the logits (n, num_classes, h, w) of each image's boxes.

        Args:
            levels: Output of ``pooled_levels``.
            boxes: Boxes of each image, shape (n, 4), in network coordinates.
        """
        results = self._mask_forward(levels, bbox2roi(boxes))
        return results['mask_preds'].split([len(box) for box in boxes])

    def paste(
        self,
        mask_preds: Tensor,
        results: InstanceData,
        meta: dict,
        rescale: bool,
    ) -> InstanceData:
        """Paste the masks of the first detections into an image.

        Args:
            mask_preds: Logits of m <= n detections, (m, num_classes, h, w).
            results: n detections in network coordinates.
            meta: Meta information of the image.
            rescale: Whether to return coordinates of the original image.

        Returns:
            The detections with ``masks`` and ``mask_scores``; only the first
            m without ``keep_all_boxes``.
        """
        if not self.test_cfg.keep_all_boxes:
            results = results[: len(mask_preds)]
        height, width = mask_shape(meta, rescale)
        binary = self.test_cfg.mask_thr_binary >= 0
        masks = torch.zeros(
            (len(results), height, width),
            dtype=torch.bool if binary else torch.uint8,
            device=mask_preds.device,
        )
        boxes = results.bboxes[: len(mask_preds)]
        # mmdet raises outside the image and draws lines for zero-area boxes.
        drawn = visible(boxes, mask_shape(meta, rescale=False)).nonzero()[:, 0]
        size = max(1, PASTED_PIXELS // (height * width))
        for first in range(0, len(drawn), size):
            indices = drawn[first : first + size]
            (chunk,) = self.mask_head.predict_by_feat(
                mask_preds=(mask_preds[indices],),
                results_list=[results[indices]],  # copies, changed in place
                batch_img_metas=[meta],
                rcnn_test_cfg=self.test_cfg,
                rescale=rescale,
            )
            masks[indices] = chunk.masks
        if rescale:
            results = to_original(results, meta)
        results.masks = masks
        results.mask_scores = results.scores.clone()
        results.mask_scores[len(mask_preds) :] = 0
        return results

    def _mask_forward(
        self, x: Sequence[Tensor], rois: Tensor
    ) -> dict[str, Tensor]:
        levels = for_roi_align(x)
        mask_feats = self.mask_roi_extractor(levels, rois)
        if len(rois) == 0:
            # An extractor of one level has no graph without boxes, and other
            # processes would hang in the all-reduce.
            mask_feats = mask_feats + sum(level[:0].sum() for level in levels)
        mask_feats = mask_feats.to(x[0].dtype)
        mask_preds = self.mask_head(mask_feats)
        if self.training:
            check_mask_size(mask_preds, self.train_cfg.mask_size)
        return dict(mask_preds=mask_preds, mask_feats=mask_feats)

    def pooled_levels(
        self, x: Sequence[Tensor], batch_data_samples: SampleList
    ) -> Sequence[Tensor]:
        """Select the levels to pool masks from.

        Args:
            x: Levels of the neck, each of shape (N, C, H, W).
            batch_data_samples: Meta information of the images.

        Raises:
            ValueError: Their strides are not those of the RoI extractor.
        """
        strides = self.mask_roi_extractor.featmap_strides
        levels = x[self.start_level : self.start_level + len(strides)]
        sizes = [tuple(level.shape[-2:]) for level in levels]
        # Set by the data preprocessor; without it, only the count is checked.
        shape = batch_data_samples[0].get('batch_input_shape')
        # Backbones round up or down.
        if len(levels) < len(strides) or any(
            abs(cells - side / stride) >= 1
            for size, stride in zip(sizes, strides, strict=True)
            for cells, side in zip(size, shape or (), strict=bool(shape))
        ):
            raise ValueError(
                f'Levels of {sizes} cells cannot have the strides {strides} '
                f'in images of {shape} pixels: set start_level of '
                f'{type(self).__name__} to the number of levels of the neck '
                'that are finer than the first of featmap_strides'
            )
        return levels


def merge_options(
    name: str, defaults: dict, given: OptConfigType
) -> ConfigDict:
    """Replace defaults by the user's options.

    Raises:
        ValueError: They are not a dict, or an option is unknown.
    """
    if not isinstance(given, dict | None):
        raise ValueError(f'{name} of MaskRoIHead is {given!r}: write a dict')
    unknown = set(given or {}) - set(defaults)
    if unknown & BOX_OPTIONS:
        raise ValueError(
            f'{name} of MaskRoIHead has {", ".join(sorted(unknown))}: boxes '
            'are those of the box head, set these in model.test_cfg'
        )
    if unknown:
        raise ValueError(
            f'{name} of MaskRoIHead has {", ".join(sorted(unknown))}: it '
            f'knows {", ".join(defaults)}'
        )
    options = {**defaults, **(given or {})}
    for key, value in options.items():
        if isinstance(value, dict) and 'type' not in value:
            options[key] = {**defaults[key], **value}
    return ConfigDict(options)


def check_masks_are_loaded(batch_gt_instances: InstanceList) -> None:
    """Refuse ground truth without masks.

    Raises:
        ValueError: The pipeline did not load them.
    """
    if all('masks' in gt for gt in batch_gt_instances):
        return
    raise ValueError(
        'The ground truth has no masks: load them by '
        "dict(type='LoadAnnotations', with_bbox=True, with_mask=True) in the "
        'training pipeline, and let PaintInstances keep them; to train boxes '
        "only, set model.roi_head=None and metric='bbox' of both evaluators"
    )


def check_mask_size(
    mask_preds: Tensor, mask_size: int | Sequence[int]
) -> None:
    """Check that targets and predictions have the same size.

    Raises:
        ValueError: ``mask_size`` does not fit RoI extractor and upsampling.
    """
    predicted = tuple(mask_preds.shape[-2:])
    if predicted != tuple(to_2tuple(mask_size)):
        raise ValueError(
            f'The mask head predicts {predicted} pixels, mask_size is '
            f'{mask_size}: set train_cfg=dict(mask_size={predicted}) of the '
            'RoI head, or output_size of its RoIAlign to half of mask_size'
        )


def share_bitmaps(gt: InstanceData) -> InstanceData:
    """Return the ground truth with bitmaps that are cheap to crop often."""
    masks = gt.masks
    if type(masks) is not BitmapMasks:
        return gt
    gt = gt.new()
    gt.masks = SharedBitmaps(masks.masks, masks.height, masks.width)
    return gt


def mask_shape(meta: dict, rescale: bool) -> tuple[int, int]:
    """Compute height and width of an image's masks."""
    height, width = meta['ori_shape'][:2]
    if rescale:
        return height, width
    # Rounded as mmdet does, from single precision.
    across, down = torch.tensor(meta['scale_factor']).float().tolist()
    return round(height * down), round(width * across)


def visible(boxes: Tensor, shape: tuple[int, int]) -> Tensor:
    """Flag boxes (n, 4) with an area inside the image (height, width)."""
    end = boxes.new_tensor(shape[::-1])
    return (boxes[:, :2].clamp(min=0) < boxes[:, 2:].minimum(end)).all(dim=1)


def to_original(results: InstanceData, meta: dict) -> InstanceData:
    """Scale the detections to the original image."""
    factors = [1 / factor for factor in meta['scale_factor']]
    results.bboxes = scale_boxes(results.bboxes, factors)
    return results

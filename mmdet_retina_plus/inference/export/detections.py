"""Detections of a checkpoint, and from the outputs of its file."""

from typing import Any, NamedTuple

import numpy as np
import torch
from mmcv.ops import batched_nms
from mmdet.models import BaseDetector
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict


class Found(NamedTuple):
    """Detections in an image, by descending score.

    Attributes:
        boxes: Shape (n, 4).
        scores: Shape (n,).
        labels: Shape (n,).
        masks: Probabilities (m, h, w) of the first m <= n; None without a
            mask branch.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None = None


@torch.no_grad()
def run_checkpoint(
    model: BaseDetector,
    image: np.ndarray,
    with_mask: bool,
    size: tuple[int, int] | None = None,
) -> Found:
    """Detect in a resized RGB image (H, W, 3) by mmdet.

    Args:
        model: The detector.
        image: Image, padded on the right and below.
        with_mask: Whether to predict masks.
        size: Width and height without padding. None: no padding.
    """
    shape = image.shape[:2] if size is None else size[::-1]
    sample = DetDataSample(
        metainfo=dict(
            img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0)
        )
    )
    pixels = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)
    batch = model.data_preprocessor(
        dict(inputs=[pixels], data_samples=[sample])
    )
    inputs, samples = batch['inputs'], batch['data_samples']
    if not hasattr(model, 'levels_at_test_time'):
        (sample,) = model.predict(inputs, samples, rescale=False)
        return found_of(sample.pred_instances)
    levels = model.levels_at_test_time(inputs, with_mask)
    (sample,) = model.predict_by_feat(
        levels, samples, rescale=False, with_mask=False
    )
    found = found_of(sample.pred_instances)
    if not with_mask:
        return found
    head = model.roi_head
    boxes = sample.pred_instances.bboxes[: head.test_cfg.max_masks]
    (logits,) = head.mask_logits(head.pooled_levels(levels, samples), [boxes])
    label = torch.as_tensor(found.labels[: len(boxes)])
    if head.mask_head.class_agnostic:
        label = torch.zeros_like(label)
    masks = logits[torch.arange(len(boxes)), label].sigmoid()
    return found._replace(masks=masks.cpu().numpy())


def run_before_nms(
    model: BaseDetector, image: np.ndarray, size: tuple[int, int] | None = None
) -> Found:
    """Detections of `run_checkpoint` before NMS and the limit."""
    head = model.bbox_head
    test_cfg = head.test_cfg
    # No IoU exceeds 1.
    head.test_cfg = ConfigDict(
        test_cfg,
        nms=dict(type='nms', iou_threshold=1.0),
        max_per_img=2**31,
    )
    try:
        return run_checkpoint(model, image, with_mask=False, size=size)
    finally:
        head.test_cfg = test_cfg


def found_of(instances: Any) -> Found:
    """Boxes, scores and labels of InstanceData."""
    instances = instances.cpu().numpy()
    return Found(instances.bboxes, instances.scores, instances.labels)


def unpad(outputs: list[np.ndarray], image: int = 0) -> Found:
    """Detections in an image from a file's outputs, without padding."""
    boxes, scores, labels, *masks = (output[image] for output in outputs)
    count = int((scores > 0).sum())
    return Found(
        boxes[:count],
        scores[:count],
        labels[:count],
        masks[0][:count] if masks else None,
    )


def suppress(boxes: np.ndarray, scores: np.ndarray, test_cfg: Any) -> Found:
    """Apply mmdet's NMS to raw outputs.

    Args:
        boxes: Boxes of all anchors, shape (A, 4).
        scores: Scores of all classes, shape (A, K).
        test_cfg: Options of the box head.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    large = (sides > test_cfg.get('min_bbox_size', -1)).all(axis=1)
    anchor, label = np.nonzero(
        (scores > test_cfg.get('score_thr', 0)) & large[:, None]
    )
    box, score = boxes[anchor], scores[anchor, label]
    if not len(box):  # mmcv looks for the largest one.
        return Found(box, score, label)
    kept, index = batched_nms(
        *map(torch.from_numpy, (box, score, label)), test_cfg.nms
    )
    kept, index = (
        values[: test_cfg.max_per_img].numpy() for values in (kept, index)
    )
    return Found(kept[:, :4], kept[:, 4], label[index])

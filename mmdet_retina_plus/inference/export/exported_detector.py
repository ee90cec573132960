"""A detector from pixels to final boxes without data-dependent control flow.

It computes the same as mmdet's `predict`, in tensors of fixed length. Images
with fewer detections are padded with score 0.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdet.models import BaseDetector
from torch import Tensor, nn

from .operators import nms_mask, roi_align

Limit = tuple[int, int] | tuple[Tensor, ...]
"""Width and height that boxes are clipped to; tensors (N, 1) if per image."""


class Candidates(NamedTuple):
    """Anchors of an image with their best scores; shapes (N, M, ...).

    Attributes:
        boxes: Decoded and clipped.
        scores: Scores, 0 in rows of padding.
        labels: Index of the class.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class ExportedDetector(nn.Module):
    """Detector that maps RGB images to boxes, scores, labels and masks.

    Args:
        model: A detector that `check_exportable` accepts.
        raw: Whether to return the boxes and scores of all anchors.
        half: Whether the network computes in half precision. Pixels, boxes
            and scores stay in single precision.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, model: BaseDetector, raw: bool = False, half: bool = False
    ) -> None:
        super().__init__()
        self.dtype = torch.float16 if half else torch.float32
        self.raw = raw
        prepare = model.data_preprocessor
        self.divisor = prepare.pad_size_divisor
        self.pad_value = float(prepare.pad_value)
        # The loader's images are BGR.
        self.reverses = not prepare._channel_conversion
        plain = torch.tensor([0.0, 1.0]).expand(3, 2)
        mean, std = (
            (prepare.mean, prepare.std)
            if prepare._enable_normalize
            else plain.T[..., None, None]
        )
        self.register_buffer('mean', mean.detach().clone().float())
        self.register_buffer('std', std.detach().clone().float())
        # Afterwards, since `half` also rounds the preprocessor's mean and std.
        self.model = model.half() if half else model

    @property
    def output_names(self) -> list[str]:
        if self.raw:
            return ['boxes', 'scores']
        masks = ['masks'] if self.with_mask else []
        return ['boxes', 'scores', 'labels', *masks]

    @property
    def with_mask(self) -> bool:
        return not self.raw and getattr(self.model, '_runs_roi_head', False)

    def forward(
        self, images: Tensor, sizes: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Detections of images (N, H, W, 3), uint8 RGB.

        Args:
            images: Images of equal size.
            sizes: Width and height of each image without padding, shape
                (N, 2), to which boxes are clipped. None: no padding.

        Returns:
            Boxes (N, n, 4) in pixels of the images, scores (N, n), labels
            (N, n) and, with a mask branch, probabilities (N, m, h, w) of the
            first m boxes. Raw: boxes (N, A, 4) and scores (N, A, K).
        """
        height, width = images.shape[1:3]
        limit: Limit = (width, height)
        if sizes is not None:
            limit = sizes.float()[:, None].unbind(2)
        levels = self.levels(self.normalise(images))
        first = getattr(self.model, 'bbox_start_level', 0)
        outputs = [
            [level.float() for level in maps]
            for maps in self.model.bbox_head(levels[first:])
        ]
        if self.raw:
            return self.all_anchors(outputs, limit)
        found = self.suppress(self.best_anchors(outputs, limit))
        if not self.with_mask:
            return tuple(found)
        return *found, self.masks(levels, found)

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise and pad like the data preprocessor: (N, 3, H', W')."""
        pixels = images.permute(0, 3, 1, 2)
        if self.reverses:
            pixels = pixels.flip(1)
        pixels = (pixels.float() - self.mean) / self.std
        height, width = images.shape[1:3]
        added = (-width % self.divisor, -height % self.divisor)
        return F.pad(pixels, (0, added[0], 0, added[1]), value=self.pad_value)

    def levels(self, pixels: Tensor) -> list[Tensor]:
        """Levels of the neck; None for those that only segmentation needs."""
        pixels = pixels.to(self.dtype)
        if hasattr(self.model, 'levels_at_test_time'):
            return self.model.levels_at_test_time(pixels, self.with_mask)
        return self.model.extract_feat(pixels)

    def level_outputs(self, outputs: list[list[Tensor]]):
        """Priors, scores, deltas and factors of each level.

        Yields:
            Shapes (L, 4), (N, L, K), (N, L, 4) and (N, L, 1); the last is 1
            for a head that has none.
        """
        head = self.model.bbox_head
        cls_scores, bbox_preds, *factors = outputs
        priors = head.prior_generator.grid_priors(
            [score.shape[-2:] for score in cls_scores],
            dtype=torch.float32,
            device=self.mean.device,
        )
        for level, prior in enumerate(priors):
            score = rows(cls_scores[level], head.cls_out_channels)
            if head.use_sigmoid_cls:
                score = score.sigmoid()
            else:
                score = score.softmax(-1)[..., :-1]
            delta = rows(bbox_preds[level], head.bbox_coder.encode_size)
            if factors:
                yield prior, score, delta, rows(factors[0][level], 1).sigmoid()
            else:
                yield prior, score, delta, None

    def decode(self, priors: Tensor, deltas: Tensor, limit: Limit) -> Tensor:
        """Boxes (N, M, 4) of priors and deltas (N, M, 4), clipped."""
        coder = self.model.bbox_head.bbox_coder
        boxes = coder.decode(priors.flatten(0, 1), deltas.flatten(0, 1))
        boxes = boxes.view_as(deltas)
        if getattr(coder, 'clip_border', True):
            boxes = torch.stack(
                [
                    corner.clamp(min=0).clamp(max=limit[number % 2])
                    for number, corner in enumerate(boxes.unbind(-1))
                ],
                dim=-1,
            )
        return boxes

    def all_anchors(
        self, outputs: list[list[Tensor]], limit: Limit
    ) -> tuple[Tensor, Tensor]:
        boxes, scores = [], []
        for prior, score, delta, factor in self.level_outputs(outputs):
            priors = prior.expand(delta.size(0), -1, -1)
            boxes.append(self.decode(priors, delta, limit))
            scores.append(score if factor is None else score * factor)
        return torch.cat(boxes, dim=1), torch.cat(scores, dim=1)

    def best_anchors(
        self, outputs: list[list[Tensor]], limit: Limit
    ) -> Candidates:
        """Select the `nms_pre` best pairs of anchor and class per level."""
        head = self.model.bbox_head
        most = head.test_cfg.nms_pre
        levels = []
        for prior, score, delta, factor in self.level_outputs(outputs):
            # Padded, so that each level has enough pairs.
            best, pair = F.pad(score.flatten(1), (0, most)).topk(most, dim=1)
            valid = best > head.test_cfg.get('score_thr', 0)
            pair = pair.where(valid, 0)
            anchor = pair // head.num_classes
            if factor is not None:
                best = best * factor.squeeze(2).gather(1, anchor)
            levels.append(
                (
                    prior[anchor],
                    pick(delta, anchor),
                    best * valid,
                    pair % head.num_classes,
                )
            )
        priors, deltas, scores, labels = (
            torch.cat(parts, dim=1) for parts in zip(*levels, strict=True)
        )
        boxes = self.decode(priors, deltas, limit)
        if head.test_cfg.get('min_bbox_size', -1) >= 0:
            sides = boxes[..., 2:] - boxes[..., :2]
            scores = scores * (sides > 0).all(dim=2)
        return Candidates(boxes, scores, labels)

    def suppress(self, found: Candidates) -> Candidates:
        """Apply NMS and keep the best `max_per_img` boxes."""
        head = self.model.bbox_head
        cfg = head.test_cfg
        num_candidates = head.prior_generator.num_levels * cfg.nms_pre
        boxes, scores, labels = found
        apart = boxes
        if not cfg.nms.get('class_agnostic', False):
            # Like mmcv's batched_nms, including its rounding.
            largest = (boxes * (scores > 0)[..., None]).amax(dim=(1, 2))
            apart = boxes + (labels * (largest + 1)[:, None])[..., None]
        kept = nms_mask(apart, scores, cfg.nms.iou_threshold, cfg.max_per_img)
        scores, index = (scores * kept).topk(
            min(cfg.max_per_img, num_candidates), dim=1
        )
        boxes = pick(boxes, index)
        filled = scores > 0
        return Candidates(
            boxes * filled[..., None],
            scores,
            labels.gather(1, index).where(filled, -1),
        )

    def masks(self, levels: list[Tensor], found: Candidates) -> Tensor:
        """Probabilities (N, m, h, w) of each box's class."""
        roi_head = self.model.roi_head
        extractor, head = roi_head.mask_roi_extractor, roi_head.mask_head
        most = min(roi_head.test_cfg.max_masks, found.scores.size(1))
        boxes = found.boxes[:, :most].flatten(0, 1)
        image = torch.arange(found.boxes.size(0), device=boxes.device)
        image = image[:, None].expand(-1, most).reshape(-1, 1)
        rois = torch.cat([image.to(boxes), boxes], dim=1)
        strides = extractor.featmap_strides
        target = extractor.map_roi_levels(rois, len(strides))
        pooled = torch.zeros((), device=boxes.device)
        for number, layer in enumerate(extractor.roi_layers):
            own = (target == number).float()[:, None]
            cells = roi_align(
                levels[roi_head.start_level + number].float(),
                # Other RoIs get no extent, since fine levels would sample
                # many points.
                torch.cat([rois[:, :1], rois[:, 1:] * own], dim=1),
                layer.output_size[0],
                layer.spatial_scale,
                layer.sampling_ratio,
                layer.aligned,
            )
            pooled = pooled + cells * own[..., None, None]
        masks = head(pooled.to(self.dtype)).float().sigmoid()
        if head.class_agnostic:
            chosen = masks[:, 0]
        else:
            label = found.labels[:, :most].flatten().clamp(min=0)
            label = label[:, None, None, None]
            chosen = masks.gather(
                1, label.expand(-1, 1, *masks.shape[2:])
            ).squeeze(1)
        return chosen.view(-1, most, *masks.shape[2:])


def rows(level: Tensor, channels: int) -> Tensor:
    """Rows (N, A * H * W, channels) of a map (N, A * channels, H, W)."""
    return level.permute(0, 2, 3, 1).reshape(level.size(0), -1, channels)


def pick(values: Tensor, index: Tensor) -> Tensor:
    """The rows (N, n, D) of values (N, M, D) at each image's index (N, n)."""
    index = index[..., None].expand(-1, -1, values.size(2))
    return values.gather(1, index)

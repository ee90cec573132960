"""Small RetinaMasks, objects with outlines, and what is measured on them."""

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.structures import InstanceData
from pycocotools import mask as rle_tools
from torch import Tensor

from tests.helpers.models import (
    detector_config,
    roi_head_config,
    with_changes,
)
from tests.helpers.samples import Objects, data_sample, pyramid

Polygons = Sequence[Sequence[float]]
"""x1, y1, x2, y2, ... of one object's parts."""


def build_roi_head(**changes):
    head = MODELS.build(roi_head_config(**changes))
    head.init_weights()
    return head


def build_retinamask(roi_head: dict | None = None, **changes):
    """A narrow detector that finds something in noise."""
    config = with_changes(detector_config(roi_head=roi_head), changes)
    model = MODELS.build(config)
    model.init_weights()
    torch.nn.init.normal_(model.bbox_head.retina_cls.weight, std=0.5)
    torch.nn.init.constant_(model.bbox_head.retina_cls.bias, -1.0)
    torch.nn.init.normal_(model.bbox_head.retina_reg.weight, std=0.05)
    return model


def rectangle(box: Sequence[float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def polygon_masks(
    outlines: Sequence[Polygons], shape: tuple[int, int]
) -> PolygonMasks:
    return PolygonMasks(
        [[np.array(part, dtype=float) for part in o] for o in outlines], *shape
    )


def bitmap_masks(
    outlines: Sequence[Polygons], shape: tuple[int, int]
) -> BitmapMasks:
    return BitmapMasks([rasterise(o, shape) for o in outlines], *shape)


def rasterise(outline: Polygons, shape: tuple[int, int]) -> np.ndarray:
    parts = rle_tools.frPyObjects([list(part) for part in outline], *shape)
    return rle_tools.decode(rle_tools.merge(parts))


def reference_target(
    outline: Polygons, box: Sequence[float], size: int = 28
) -> np.ndarray:
    """The polygon cropped to a box, resized and rasterised."""
    x1, y1, x2, y2 = box
    origin = np.array([x1, y1])
    scale = size / np.maximum([x2 - x1, y2 - y1], 1.0)
    moved = [
        ((np.reshape(part, (-1, 2)) - origin) * scale).ravel()
        for part in outline
    ]
    return rasterise(moved, (size, size))


def mask_sample(
    objects: Objects = (),
    shape: tuple[int, int] = (64, 64),
    outlines: Sequence[Polygons] | None = None,
    masks=polygon_masks,
) -> DetDataSample:
    """Ground truth with masks, which fill their boxes unless given."""
    sample = data_sample(objects, shape)
    if outlines is None:
        outlines = [[rectangle(box)] for box, _ in objects]
    sample.gt_instances.masks = masks(outlines, shape)
    return sample


def detections(
    boxes: Sequence[Sequence[float]] | Tensor, labels: Sequence[int] | int = 0
) -> InstanceData:
    """Boxes, best first."""
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    if isinstance(labels, int):
        labels = [labels] * len(boxes)
    return InstanceData(
        bboxes=boxes,
        labels=torch.tensor(labels).long(),
        scores=torch.linspace(0.9, 0.1, len(boxes)),
    )


class Spy:
    """What a RoI head pools and predicts, call by call."""

    def __init__(self, roi_head) -> None:
        self.rois: list[Tensor] = []
        self.logits: list[Tensor] = []
        roi_head.mask_roi_extractor.register_forward_pre_hook(
            lambda module, args: self.rois.append(args[1])
        )
        roi_head.mask_head.register_forward_hook(self._keep_logits)

    def _keep_logits(self, module, args, result: Tensor) -> None:
        if result.requires_grad:
            result.retain_grad()
        self.logits.append(result)


def train(roi_head, found, samples, features=None) -> dict[str, Tensor]:
    """One step of the head on random levels."""
    if features is None:
        features = pyramid(len(samples), shape=samples[0].batch_input_shape)
    return roi_head.loss(features, found, samples)

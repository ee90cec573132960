"""Measure how well a config's anchors fit its resized objects."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmdet_retina_plus.common.anchor_iou import (
    AREAS,
    GOOD_IOU,
    POOR_IOU,
    generator_iou,
    size_group,
)
from mmdet_retina_plus.common.network_boxes import network_boxes

from .loss_data import bare_datasets

MOST = 50_000
"""Maximum number of objects; more are sampled."""
RATIO_EDGES = (1 / 3, 2 / 3, 3 / 2, 3)
"""Bin edges of height over width."""
RATIOS = ('over 3:1', '3:1 to 3:2', 'square', '2:3 to 1:3', 'under 1:3')
"""Names of the bins between the edges, as width : height."""


class Objects(NamedTuple):
    """Objects of a training set.

    Attributes:
        boxes: Boxes in pixels of the network's input, shape (N, 4).
        sizes: Width and height of each box's padded image, shape (N, 2).
        areas: Areas of the boxes in the original image, shape (N,).
        seen: Number of objects from which these were sampled.
    """

    boxes: np.ndarray
    sizes: np.ndarray
    areas: np.ndarray
    seen: int

    @property
    def ratios(self) -> np.ndarray:
        """Height over width, shape (N,)."""
        width, height = (self.boxes[:, 2:] - self.boxes[:, :2]).T
        return height / width

    def some(self, most: int) -> 'Objects':
        """Sample at most this many objects."""
        if len(self.boxes) <= most:
            return self
        rows = np.random.default_rng(0).choice(
            len(self.boxes), most, replace=False
        )
        return Objects(
            self.boxes[rows], self.sizes[rows], self.areas[rows], self.seen
        )


def read_objects(cfg: Any, pad_size_divisor: int) -> Objects:
    """Read the objects of a config's training data, after mmdet's filters.

    Args:
        cfg: The config.
        pad_size_divisor: Divisor of the data preprocessor.

    Raises:
        ValueError: The data cannot be read, or has no objects.
    """
    parts = [
        boxes_of(chain, dataset, pad_size_divisor)
        for chain, dataset in bare_datasets(cfg, 'train')
    ]
    boxes, sizes, areas = (np.concatenate(x) for x in zip(*parts, strict=True))
    if not len(boxes):
        raise ValueError(
            'The train data has no objects: `retina-plus doctor CONFIG` shows '
            'why'
        )
    return Objects(boxes, sizes, areas, len(boxes)).some(MOST)


def boxes_of(
    chain: Sequence[Mapping], dataset: Any, pad_size_divisor: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes of a data set, sizes of their images, and original areas.

    Args:
        chain: Configs of the wrappers, outermost first, and of the data set.
        dataset: The data set, without a pipeline.
        pad_size_divisor: Divisor of the data preprocessor.
    """
    pipeline = [
        step for part in chain[::-1] for step in part.get('pipeline') or ()
    ]
    rows = [
        (*instance['bbox'], info['width'], info['height'])
        for info in map(dataset.get_data_info, range(len(dataset)))
        for instance in info['instances']
        if not instance['ignore_flag']
    ]
    table = np.array(rows, float).reshape(-1, 6)
    edges = table[:, 2:4] - table[:, :2]
    table, edges = (part[(edges > 0).all(axis=1)] for part in (table, edges))
    boxes, sizes = network_boxes(
        table[:, :4], table[:, 4:], pipeline, pad_size_divisor
    )
    return boxes, sizes, edges.prod(axis=1)


def anchor_head(model: Any) -> tuple[str, Any]:
    """Find the head with anchors of a detector, and its key.

    Raises:
        ValueError: No head has anchors of fixed shapes.
    """
    key = 'rpn_head' if getattr(model, 'with_rpn', False) else 'bbox_head'
    head = getattr(model, key, None)
    if not hasattr(getattr(head, 'prior_generator', None), 'base_anchors'):
        name = type(model if head is None else head).__name__
        raise ValueError(
            f'{name} has no anchors of fixed shapes, so there is nothing to '
            'fit: use a head such as RetinaHead, RetinaPlusHead, ATSSHead, '
            'SSDHead, YOLOV3Head or RPNHead'
        )
    return key, head


def measure(objects: Objects, generator: Any) -> dict[str, Any]:
    """Summarise best IoUs: all, by size and by aspect ratio; JSON values."""
    ious = generator_iou(objects.boxes, objects.sizes, generator)
    sizes = size_group(objects.areas)
    ratios = np.searchsorted(RATIO_EDGES, objects.ratios)
    return dict(
        all=summary(ious),
        by_size={
            name: summary(ious[sizes == number])
            for number, name in enumerate(AREAS)
        },
        by_ratio={
            name: summary(ious[ratios == number])
            for number, name in enumerate(RATIOS)
        },
    )


def summary(ious: np.ndarray) -> dict[str, Any]:
    """Count, mean, and fractions below two thresholds; None if empty."""
    if not len(ious):
        return dict(objects=0, mean_iou=None, below_04=None, below_05=None)
    return dict(
        objects=len(ious),
        mean_iou=float(ious.mean()),
        below_04=float((ious < POOR_IOU).mean()),
        below_05=float((ious < GOOD_IOU).mean()),
    )

"""Check that priors are distinct, and that objects get some."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmdet_retina_plus.common.network_boxes import network_boxes
from mmdet_retina_plus.common.text import quantity

from .anchors import (
    POOR_SHARE,
    check_anchors,
    check_distinct,
    has_threshold,
    positive_threshold,
)
from .findings import Finding, Level
from .model import prior_generator, prior_head
from .split import Split


def check_priors(
    cfg: Any, model: Any, splits: Sequence[Split]
) -> list[Finding]:
    """Check anchors or points against the objects of the first split."""
    from mmdet.models import FCOSHead
    from mmdet.models.task_modules import AnchorGenerator

    generator = prior_generator(model)
    name, head = prior_head(model)
    if isinstance(head, FCOSHead):
        return check_points(splits[0], generator) if splits else []
    if not isinstance(generator, AnchorGenerator):
        return []
    findings = check_distinct(generator)
    if splits:
        preprocessor = cfg.model.get('data_preprocessor') or {}
        train_cfg = cfg.model.get('train_cfg') or {}
        if name == 'rpn_head':
            train_cfg = train_cfg.get('rpn') or train_cfg
        findings += check_anchors(
            splits[0],
            generator,
            preprocessor.get('pad_size_divisor', 1),
            positive_threshold(train_cfg),
            has_threshold(train_cfg),
            f'model.{name}.anchor_generator',
        )
    return findings


def check_points(split: Split, generator: Any) -> list[Finding]:
    """Count the objects in which no point lies: they have no positives.

    Args:
        split: Data set with objects and the pipeline that resizes them.
        generator: `MlvlPointGenerator` of mmdet.
    """
    used = split.usable
    if not used.any():
        return []
    boxes, _ = network_boxes(
        split.boxes[used], split.sizes[used], split.pipeline
    )
    strides = np.array(generator.strides[0], float)
    cells = boxes / np.tile(strides, 2) - generator.offset
    without = (np.floor(cells[:, 2:]) < np.ceil(cells[:, :2])).any(axis=1)
    message = (
        f'no point of the finest level, of stride {strides[0]:g}, lies in '
        f'{without.sum()} of {quantity(len(boxes), "object")}'
    )
    if without.mean() <= POOR_SHARE:
        return [Finding('ok', 'points', message)]
    level: Level = 'error' if without.all() else 'warning'
    return [
        Finding(
            level,
            'points',
            f'{message}: they are learnt as background',
            'enlarge the images by scale of Resize, or add a finer level: '
            'model.neck.start_level=0 and model.bbox_head.strides and '
            'regress_ranges of it',
        )
    ]

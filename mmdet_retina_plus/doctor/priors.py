"""Check that priors are distinct, and that objects get some."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmdet_retina_plus.common.network_boxes import network_boxes
from mmdet_retina_plus.common.text import clause, quantity

from .anchors import (
    POOR_SHARE,
    check_anchors,
    check_distinct,
    has_threshold,
    positive_threshold,
)
from .assignment_settings import CHOOSE_AGAIN, are_pairs, floods
from .findings import Finding, Level
from .model import prior_generator, prior_head
from .split import Split

FEW = 0.02
"""Fraction of objects that may be too long without a warning."""
OF_STRIDE = 8
"""End of the range of a level in its strides, as in FCOS."""
MOST = 0.9
"""Fraction of objects above which the other levels hardly train."""


def check_priors(
    cfg: Any, model: Any, splits: Sequence[Split]
) -> list[Finding]:
    """Check anchors or points against the objects of the first split."""
    from mmdet.models import FCOSHead, GFLHead
    from mmdet.models.task_modules import AnchorGenerator

    generator = prior_generator(model)
    name, head = prior_head(model)
    if isinstance(head, FCOSHead):
        if not splits:
            return []
        return check_points(splits[0], generator) + check_range_sizes(
            splits[0], head, f'model.{name}.regress_ranges'
        )
    if not isinstance(generator, AnchorGenerator):
        return []
    findings = check_distinct(generator) + check_level_order(generator)
    if splits and isinstance(head, GFLHead):
        findings += check_longest(splits[0], generator, head.reg_max)
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
            floods(train_cfg.get('assigner') or {})
            and type(head).__name__ not in CHOOSE_AGAIN,
        )
    return findings


def check_longest(split: Split, generator: Any, reg_max: int) -> list[Finding]:
    """Count the objects longer than any box that GFL predicts.

    It predicts distances from a location to the four edges, of up to
    `reg_max` strides.

    Args:
        split: Data set with objects and the pipeline that resizes them.
        generator: `AnchorGenerator` of mmdet.
        reg_max: Largest distance, in strides.
    """
    used = split.usable
    if not used.any():
        return []
    boxes, _ = network_boxes(
        split.boxes[used], split.sizes[used], split.pipeline
    )
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    stride = max(x[0] for x in generator.strides)
    most = 2 * reg_max * stride
    beyond = sides > most
    if beyond.mean() <= FEW:
        return []
    right = int(np.ceil(sides.max() / 2 / stride)) + 1
    return split.warn(
        f'{clause(int(beyond.sum()), "object", "are")} longer than the '
        f'{most} pixels of the longest box that reg_max={reg_max} allows at '
        f'stride {stride}: up to {sides.max():.0f} after the pipeline',
        f'model.bbox_head.reg_max={right}, or more levels of the neck',
    )


def check_level_order(generator: Any) -> list[Finding]:
    """Report small anchors at coarse levels, as YOLO's in reverse order."""
    sides = [
        float((x[:, 2:] - x[:, :2]).prod(dim=1).mean())
        for x in generator.base_anchors
    ]
    strides = [stride[0] for stride in generator.strides]
    ordered = [side for _, side in sorted(zip(strides, sides, strict=True))]
    falls = ordered == sorted(ordered, reverse=True)
    # Another check reports ratios of 0 or below.
    if not (all(x > 0 for x in sides) and falls and {*sides} - {sides[0]}):
        return []
    return [
        Finding(
            'error',
            'anchors',
            f'the coarsest level, of stride {max(strides)}, has the smallest '
            'anchors: levels and sizes are in opposite orders',
            'base_sizes of the anchor_generator in the reverse order, one '
            'list per stride',
        )
    ]


def check_range_sizes(split: Split, head: Any, key: str) -> list[Finding]:
    """Report `regress_ranges` that give nearly all objects to one level.

    Args:
        split: Data set with objects and the pipeline that resizes them.
        head: `FCOSHead` of mmdet.
        key: Dotted key of the ranges.
    """
    used, ranges = split.usable, head.regress_ranges
    strides = [x[0] for x in head.prior_generator.strides]
    if not used.any() or not are_pairs(ranges) or min(strides) <= 0:
        return []
    ends = [high for _, high in ranges[:-1]]  # The last range has no end.
    if len(ranges) != len(strides) or ends != sorted(ends):
        return []
    usual = [OF_STRIDE * x for x in strides[:-1]]
    if all(y / 3 < x < y * 3 for x, y in zip(ends, usual, strict=True)):
        return []
    boxes, _ = network_boxes(
        split.boxes[used], split.sizes[used], split.pipeline
    )
    # From the centre to the farthest edge.
    lengths = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / 2
    counts, others = (
        np.bincount(np.searchsorted(x, lengths)) for x in (ends, usual)
    )
    if counts.max() <= MOST * len(boxes) or others.max() > MOST * len(boxes):
        return []
    right = tuple(zip([-1, *usual], [*usual, 1e8], strict=True))
    return [
        Finding(
            'warning',
            key,
            f'the level of stride {strides[counts.argmax()]} gets '
            f'{counts.max()} of {quantity(len(boxes), "object")}; recipes '
            f'have ranges up to {OF_STRIDE} strides of a level',
            f'{key}={right}',
        )
    ]


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

"""Find images with more objects than a detector returns or a metric counts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmdet_retina_plus.common.config_tree import kind, part, walk
from mmdet_retina_plus.common.numbers import is_number
from mmdet_retina_plus.common.text import clause, quantity

from .box_formats import check_box_format
from .coco_metric import OF_PRECISION
from .findings import Finding, any_error
from .repeated import ONE, check_duplicates, overlapping
from .split import Split

FEW = 0.02
"""Fraction of objects beyond a limit that needs no warning."""
OVERLAPPING = 0.05
"""Fraction of objects that may overlap by more than NMS allows."""
RECALLS = np.linspace(0, 1, 101)
"""Recall thresholds of pycocotools."""
FEWEST, MOST_FULL, PEAK = 5, 0.8, 3
"""Minimum number and maximum fraction of images with the largest number of
objects, and ratio to those with nearly as many, if a limit caused it."""
LIMITS = ('model.test_cfg', 'model.test_cfg.rcnn')
"""Keys of the parts that have `max_per_img`."""


def numbers_in(split: Split, by_class: bool) -> tuple[np.ndarray, np.ndarray]:
    """Count the objects of each image, or of each class in each image.

    Returns:
        Counts and labels, both (N,); labels are 0 without `by_class`.
    """
    used = np.flatnonzero(split.usable)
    labels = split.label_of[used] * by_class
    keys, numbers = np.unique(
        split.image_of[used] * len(split.classes) + labels,
        return_counts=True,
    )
    return numbers, keys % len(split.classes)


def beyond(numbers: np.ndarray, limit: int) -> float:
    """Fraction of the objects that exceed a limit per group."""
    return (numbers - limit).clip(min=0).sum() / max(numbers.sum(), 1)


def best_precision(numbers: np.ndarray, labels: np.ndarray) -> float:
    """AP of a perfect detector if 100 boxes per class are counted."""
    reached = []
    for label in np.unique(labels):
        own = numbers[labels == label]
        recall = 1 - beyond(own, OF_PRECISION)
        reached.append((recall + 1e-9 >= RECALLS).mean())
    return float(np.mean(reached))


def check_crowding(cfg: Mapping, splits: Sequence[Split]) -> list[Finding]:
    """Report objects beyond `max_per_img`, `num_queries` or COCO's 100."""
    findings: list[Finding] = []
    for split in splits:
        if not (split.usable.any() and len(split.classes)):
            continue
        findings += beyond_queries(cfg, split)
        findings += at_a_limit(split)
        if split.scored:
            findings += beyond_results(cfg, split)
            findings += beyond_metric(cfg, split)
            findings += beyond_suppression(cfg, split)
    return findings


def at_a_limit(split: Split) -> list[Finding]:
    """Report objects that an export left out beyond a number per image."""
    numbers, _ = numbers_in(split, by_class=False)
    most = int(numbers.max())
    full, near = (numbers == most).sum(), (numbers >= 0.8 * most).sum()
    round_number = most >= 10 and most % 5 == 0
    # Generated sets have one number in all images.
    if not round_number or not FEWEST <= full < MOST_FULL * len(numbers):
        return []
    if full < PEAK * (near - full):
        return []
    return split.warn(
        f'{quantity(int(full), "image")} have exactly {most} objects, and '
        'none has more: an export may have left out the others, which are '
        'then background',
        f'export the annotations again, without a limit of {most} per image',
    )


def beyond_results(cfg: Mapping, split: Split) -> list[Finding]:
    numbers, _ = numbers_in(split, by_class=False)
    for path in LIMITS:
        limit: Any = part(cfg, path).get('max_per_img')
        # Other checks report limits of 0 and below.
        if not isinstance(limit, int) or limit < 1:
            continue
        lost = beyond(numbers, limit)
        if lost <= FEW:
            continue
        many = int((numbers > limit).sum())
        # Another check reports very low limits.
        return split.warn(
            f'{clause(many, "image", "have")} more objects than '
            f'max_per_img={limit}, up to {numbers.max()}: {lost:.0%} of all '
            'objects cannot be found',
            f'{path}.max_per_img={-(-int(numbers.max()) // 100) * 100}',
        )
    return []


def beyond_queries(cfg: Mapping, split: Split) -> list[Finding]:
    """Report more objects than a DETR has queries."""
    queries = part(cfg, 'model').get('num_queries')
    if not split.trains or not isinstance(queries, int):
        return []
    numbers, _ = numbers_in(split, by_class=False)
    if numbers.max() <= queries:
        return []
    many = int((numbers > queries).sum())
    return split.warn(
        f'{clause(many, "image", "have")} more objects than num_queries='
        f'{queries}, up to {numbers.max()}: the others are not learnt',
        f'model.num_queries={-(-int(numbers.max()) // 100) * 100}',
    )


def beyond_metric(cfg: Mapping, split: Split) -> list[Finding]:
    key = f'{split.name.partition(" ")[0]}_evaluator'
    if not any(kind(x) == 'CocoMetric' for x in walk(cfg.get(key))):
        return []
    if split.metrics and not {'bbox', 'segm'} & {*split.metrics}:
        return []
    numbers, labels = numbers_in(split, by_class=True)
    if beyond(numbers, OF_PRECISION) <= FEW:
        return []
    many = int((numbers > OF_PRECISION).sum())
    return split.warn(
        f'{clause(many, "image", "have")} more than {OF_PRECISION} objects '
        f'of a class, up to {numbers.max()}, and mAP of pycocotools counts '
        f'{OF_PRECISION} boxes: it is {best_precision(numbers, labels):.2f} '
        'at best',
        'compare mAP_50 and mAP_75, which count the last of proposal_nums: '
        "default_hooks.checkpoint.save_best='coco/bbox_mAP_50', or cut the "
        'images into tiles',
    )


def beyond_suppression(cfg: Mapping, split: Split) -> list[Finding]:
    """Report objects so close that NMS keeps one of them."""
    for path in LIMITS:
        nms = part(cfg, f'{path}.nms')
        limit: Any = nms.get('iou_threshold')
        if kind(nms) not in ('nms', '') or not is_number(limit):
            continue
        if not 0 < limit < ONE:  # Another check reports these.
            continue
        mixed = bool(nms.get('class_agnostic'))
        found = overlapping(split, limit, ONE, by_class=not mixed)
        if found.sum() <= OVERLAPPING * split.usable.sum():
            continue
        # Wrong boxes overlap by accident.
        if check_duplicates(split) or any_error(check_box_format(split)):
            return []
        whose = 'another object' if mixed else 'another of their class'
        fix = f'{path}.nms.iou_threshold={min(limit + 0.2, 0.7):.1f}'
        if mixed:
            fix = f'{path}.nms.class_agnostic=False, or {fix}'
        return split.warn(
            f'{found.sum():,} of '
            f'{quantity(int(split.usable.sum()), "object")} overlap {whose} '
            f'by more than iou_threshold={limit:g} of NMS, which keeps one '
            'box of two',
            fix + f", or {path}.nms.type='soft_nms'",
        )
    return []

"""More objects in an image than a detector returns or a metric counts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmdet_retina_plus.common.config_tree import kind, part, walk
from mmdet_retina_plus.common.text import clause

from .coco_metric import OF_PRECISION
from .findings import Finding
from .split import Split

FEW = 0.02
"""Fraction of objects that may be beyond what is counted."""
RECALLS = np.linspace(0, 1, 101)
"""Where pycocotools takes the precision."""
LIMITS = ('model.test_cfg', 'model.test_cfg.rcnn')
"""Where `max_per_img` stands."""


def numbers_in(split: Split, by_class: bool) -> tuple[np.ndarray, np.ndarray]:
    """Objects of each image that has any, or of each class in it.

    Returns:
        The numbers and the labels, both (N,); without classes 0.
    """
    used = np.flatnonzero(split.usable)
    labels = split.label_of[used] * by_class
    keys, numbers = np.unique(
        split.image_of[used] * len(split.classes) + labels,
        return_counts=True,
    )
    return numbers, keys % len(split.classes)


def beyond(numbers: np.ndarray, limit: int) -> float:
    """Fraction of the objects that are more than a limit each."""
    return (numbers - limit).clip(min=0).sum() / max(numbers.sum(), 1)


def best_precision(numbers: np.ndarray, labels: np.ndarray) -> float:
    """AP of a perfect detector, of which 100 boxes a class are counted."""
    reached = []
    for label in np.unique(labels):
        own = numbers[labels == label]
        recall = 1 - beyond(own, OF_PRECISION)
        reached.append((recall + 1e-9 >= RECALLS).mean())
    return float(np.mean(reached))


def check_crowding(cfg: Mapping, splits: Sequence[Split]) -> list[Finding]:
    """Objects of scored sets beyond `max_per_img` and COCO's 100 a class."""
    findings: list[Finding] = []
    for split in splits:
        if not (split.usable.any() and len(split.classes)):
            continue
        findings += beyond_queries(cfg, split)
        if split.scored:
            findings += beyond_results(cfg, split)
            findings += beyond_metric(cfg, split)
    return findings


def beyond_results(cfg: Mapping, split: Split) -> list[Finding]:
    numbers, _ = numbers_in(split, by_class=False)
    for path in LIMITS:
        limit: Any = part(cfg, path).get('max_per_img')
        # Of 0 and less other checks tell.
        if not isinstance(limit, int) or limit < 1:
            continue
        lost = beyond(numbers, limit)
        if lost <= FEW:
            continue
        many = int((numbers > limit).sum())
        # Of a few boxes another check tells.
        return split.warn(
            f'{clause(many, "image", "have")} more objects than '
            f'max_per_img={limit}, up to {numbers.max()}: {lost:.0%} of all '
            'objects cannot be found',
            f'{path}.max_per_img={-(-int(numbers.max()) // 100) * 100}',
        )
    return []


def beyond_queries(cfg: Mapping, split: Split) -> list[Finding]:
    """Queries of a DETR, each of which finds an object at most."""
    queries = part(cfg, 'model').get('num_queries')
    if not split.trains or not isinstance(queries, int):
        return []
    numbers, _ = numbers_in(split, by_class=False)
    if numbers.max() <= queries:
        return []
    many = int((numbers > queries).sum())
    return split.warn(
        f'{clause(many, "image", "have")} more objects than num_queries='
        f'{queries}, up to {numbers.max()}: the rest is not learnt',
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

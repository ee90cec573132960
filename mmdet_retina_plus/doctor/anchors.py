"""Check how well the anchors of a config fit the objects of its data."""

from collections.abc import Mapping, Sequence
from math import inf
from types import SimpleNamespace
from typing import Any

import numpy as np

from mmdet_retina_plus.common.anchor_iou import (
    AREAS,
    POOR_IOU,
    generator_iou,
    size_group,
)
from mmdet_retina_plus.common.config_tree import kind, part, walk
from mmdet_retina_plus.common.network_boxes import (
    is_resize,
    middle_scale,
    network_boxes,
    resized,
)

from .explanations import parameters_of
from .findings import Finding, Level
from .split import Split

POOR_SHARE = 0.1
GROUP, MOST_POOR, BETTER = 8, 0.5, 1 / 3
"""A group of so many objects is lost if this fraction of it fits no anchor,
and other sizes of anchors are better if they leave that fraction of these."""
FACTORS = tuple(2.0**x for x in range(-5, 6) if x)
TRIED = 5_000
"""Maximum number of objects to match with each factor."""
MOST = 50_000
"""Maximum number of objects to match; more are sampled."""
APART = 2
"""Ratio of scales from which training and validation differ too much."""


def are_apart(one: float, other: float) -> bool:
    return not 1 / APART < one / other < APART


def same_in_samples(split: Split, longest: Mapping[str, float]) -> bool:
    """Whether loaded samples have about the size of training samples.

    Training may crop large images to the size that validation resizes to.
    """
    ours = longest.get(split.name.partition(' ')[0], 0)
    train = longest.get('train', 0)
    return bool(ours and train) and not are_apart(ours, train)


def check_batch_scales(
    cfg: Mapping, samples: Mapping[str, Sequence[Any]]
) -> list[Finding]:
    """Compare the scales of batch augmentation with those of validation.

    Args:
        cfg: Config of the run.
        samples: Loaded samples by 'train', 'val' or 'test'.
    """
    key = 'model.data_preprocessor.batch_augments'
    ranges = [
        step['random_size_range']
        for step in walk(part(cfg, 'model.data_preprocessor'))
        if isinstance(step.get('random_size_range'), list | tuple)
    ]
    sides = [max(x['inputs'].shape[-2:]) for x in samples.get('val') or ()]
    if not ranges or not sides:
        return []
    low, high = ranges[0]
    side = float(np.median(sides))
    if low <= side <= high or not are_apart((low + high) / 2, side):
        return []
    return [
        Finding(
            'warning',
            key,
            f'batches are scaled to {low} to {high} pixels, but validation '
            f'has images of {side:.0f}: objects have other sizes',
            f'{key} with random_size_range=({3 * side / 4:.0f}, '
            f'{5 * side / 4:.0f})',
        )
    ]


def check_scales(
    splits: Sequence[Split], samples: Mapping[str, Sequence[Any]]
) -> list[Finding]:
    """Report validation images much larger or smaller than for training.

    Args:
        splits: All data sets.
        samples: Loaded samples by 'train', 'val' or 'test'.
    """
    longest = {
        name: float(np.median([max(x['inputs'].shape[-2:]) for x in loaded]))
        for name, loaded in samples.items()
        if loaded
    }
    sides = [
        float(
            np.median(resized(split.image_sizes, split.pipeline).max(axis=1))
        )
        if len(split.images)
        and (any(map(is_resize, split.pipeline)) or keeps_size(split))
        else 0.0
        for split in splits
    ]
    train = [x for x, split in zip(sides, splits, strict=True) if split.trains]
    if not train or not train[0]:
        return []
    return [
        Finding(
            'warning',
            split.subject,
            f'images are {side:.0f} pixels long after its pipeline, but '
            f'{train[0]:.0f} in training: objects have other sizes',
            resize_as(split, next(x for x in splits if x.trains)),
        )
        for side, split in zip(sides, splits, strict=True)
        if not split.trains
        and side
        and are_apart(side, train[0])
        and not same_in_samples(split, longest)
    ]


STRETCHED, KEPT = 1.8, 1.3
"""Ratio of the factors of width and height from which objects are distorted,
and up to which they are not."""


def check_stretch(splits: Sequence[Split]) -> list[Finding]:
    """Report width and height exchanged in `scale` of all pipelines."""
    findings = []
    for split in splits:
        steps = [
            (at, x) for at, x in enumerate(split.pipeline) if is_resize(x)
        ]
        if len(steps) != 1 or steps[0][1].get('keep_ratio', False):
            continue
        at, step = steps[0]
        scale = middle_scale(step)
        if scale is None or not len(split.images):
            continue
        sides = split.image_sizes

        def distortion(scale: Sequence[float], sides: Any = sides) -> float:
            ratio = np.log(np.array(scale) / sides) @ np.array([1, -1])
            return float(np.exp(np.median(np.abs(ratio))))

        turned = tuple(scale)[::-1]
        if distortion(scale) < STRETCHED or distortion(turned) > KEPT:
            continue
        width, height = np.median(sides, axis=0)
        findings += split.warn(
            f'scale={tuple(scale)} of {kind(step)} is (width, height), and '
            f'distorts the images, of {width:.0f} x {height:.0f} pixels in '
            f'the median, by {distortion(scale):.1f}',
            f'{split.key}.pipeline.{at}.scale={turned}',
        )
    return findings


KEEP_SIZE = (
    'LoadImageFromFile',
    'LoadAnnotations',
    'FilterAnnotations',
    'PhotoMetricDistortion',
    'RandomFlip',
    'PackDetInputs',
)
"""Steps that leave the size of an image."""


def keeps_size(split: Split) -> bool:
    """Whether the training pipeline keeps the image size."""
    return split.trains and {*map(kind, split.pipeline)} <= {*KEEP_SIZE}


def resize_as(split: Split, training: Split) -> str:
    """Fix that gives the first Resize of a data set the training scale."""
    step = next((x for x in training.pipeline if is_resize(x)), None)
    if step is None:
        own = next(x for x in split.pipeline if is_resize(x))
        return (
            f"dict(type='Resize', scale={middle_scale(own)}, "
            f'keep_ratio={own.get("keep_ratio", False)}) after '
            f'LoadAnnotations of {training.key}.pipeline'
        )
    at = [is_resize(x) for x in split.pipeline].index(True)
    key = f'{split.key}.pipeline.{at}'
    scale = middle_scale(step)
    if scale is None:
        return f'{key}.scale_factor={step.get("scale_factor")}'
    return f'{key}.scale={tuple(scale)}'


def check_distinct(generator: Any) -> list[Finding]:
    """Report anchors that occur twice at a location."""
    for stride, anchors in zip(
        generator.strides, generator.base_anchors, strict=True
    ):
        anchors = anchors.numpy().round(3)
        distinct = np.unique(anchors, axis=0)
        if len(distinct) < len(anchors):
            return [
                Finding(
                    'error',
                    'anchors',
                    f'of {len(anchors)} anchors at a location of stride '
                    f'{stride[0]} only {len(distinct)} are distinct',
                    'write ratios and scales as one flat list without '
                    'repetitions: anchor_generator.ratios=[0.5,1.0,2.0]',
                )
            ]
    return []


def has_threshold(train_cfg: Mapping) -> bool:
    """Whether the assigner has an IoU threshold; True if it is unknown.

    ATSS and others assign by rank.
    """
    from mmdet.registry import TASK_UTILS

    assigner = train_cfg.get('assigner') or {}
    # `Registry.get` logs names that it does not know.
    built = TASK_UTILS.module_dict.get(kind(assigner))
    return built is None or 'pos_iou_thr' in parameters_of(built)


def positive_threshold(train_cfg: Mapping) -> float:
    """IoU below which an object gets no anchor; 0: no limit."""
    assigner = train_cfg.get('assigner') or {}
    if not kind(assigner).endswith('MaxIoUAssigner'):
        return 0.0
    if assigner.get('match_low_quality', True):
        return float(assigner.get('min_pos_iou', 0))
    return float(assigner.get('pos_iou_thr', 0))


def check_anchors(
    split: Split,
    generator: Any,
    pad_size_divisor: int = 1,
    threshold: float = 0.0,
    by_iou: bool = True,
    key: str = 'model.bbox_head.anchor_generator',
    flooded: bool = False,
) -> list[Finding]:
    """Count the objects that no anchor fits, by size.

    Ignores crops and random choices of scales.

    Args:
        split: Data set with objects and the pipeline that resizes them.
        generator: `AnchorGenerator` of mmdet.
        pad_size_divisor: `pad_size_divisor` of the data preprocessor.
        threshold: IoU below which the assigner gives an object no anchor.
        by_iou: Whether the assigner selects anchors by IoU.
        key: Dotted key of the generator.
        flooded: Whether an object without overlap makes all anchors positive.
    """
    chosen = np.flatnonzero(split.usable)
    if not len(chosen):
        return []
    seen = len(chosen)
    if seen > MOST:
        chosen = np.random.default_rng(0).choice(chosen, MOST, replace=False)
    boxes, sizes = network_boxes(
        split.boxes[chosen],
        split.sizes[chosen],
        split.pipeline,
        pad_size_divisor,
    )
    ious = generator_iou(boxes, sizes, generator)
    # By boxes, as anchor-fit does, although COCO's sizes are those of masks.
    edges = split.boxes[chosen, 2:] - split.boxes[chosen, :2]
    group = size_group(edges.prod(axis=1))
    poor = ious < POOR_IOU
    parts = [
        f'{(poor & (group == number)).sum()} of {(group == number).sum()} '
        f'{name}'
        for number, name in enumerate(AREAS)
    ]
    message = (
        f'best anchor IoU below {POOR_IOU}: {poor.sum()} of {len(poor)} '
        f'objects ({", ".join(parts)})'
    )
    if seen > len(chosen):
        message += f', a sample of {seen}'
    without = int((ious < max(threshold, 1e-9)).sum())
    stage = 'rpn.' * key.startswith('model.rpn_head')
    assigner = f'model.train_cfg.{stage}assigner'
    rescue = ''
    if without and flooded:
        message += f'; {without} overlap none: each makes all anchors of its '
        message += 'image positive'
        rescue = f'{assigner}.min_pos_iou=0.001'
    elif without:
        message += f'; {without} get no anchor at all'
    if without and threshold > POOR_IOU:
        message += f': the assigner requires an IoU of {threshold:g}'
    level: Level = 'error' if without == len(chosen) else 'warning'
    if without > max(poor.sum(), POOR_SHARE * len(chosen)):
        fix = f'{assigner}.match_low_quality=True {assigner}.min_pos_iou=0'
        return [Finding(level, 'anchors', message, fix)]
    fit = poor.mean() <= POOR_SHARE or not by_iou
    fit &= without <= POOR_SHARE * len(chosen)
    factor, left = best_factor(boxes, sizes, generator, poor)
    better = factor != 1 and left <= BETTER * poor.sum()
    lost = any(
        (group == number).sum() >= GROUP
        and poor[group == number].mean() > MOST_POOR
        for number in range(len(AREAS))
    )
    if fit and not (better and lost and by_iou):
        if rescue:
            return [Finding(level, 'anchors', message, rescue)]
        return [Finding('ok', 'anchors', message)]
    fix = (
        'for small objects lower anchor_generator.octave_base_scale, add a '
        'finer level or enlarge the images; for elongated ones add ratios; '
        '`retina-plus anchor-fit CONFIG` suggests which'
    )
    if better:
        anchors = np.concatenate([x.numpy() for x in generator.base_anchors])
        sides = np.sqrt((anchors[:, 2:] - anchors[:, :2]).prod(axis=1))
        message += (
            f'; anchors have {sides.min():.0f} to {sides.max():.0f} pixels: '
            f'{times(factor)} as large, they leave about {left} objects'
        )
        fix = resized_anchors(generator, key, factor)
    elif turned_left(boxes, sizes, generator, poor) <= BETTER * poor.sum():
        ratios = generator.ratios.tolist()
        message += f'; ratios={rounded(ratios)} are height / width: their '
        message += 'inverse fits'
        fix = f'{key}.ratios={rounded([1 / x for x in ratios[::-1]])}'
    fixes = [fix, rescue] if rescue else [fix]
    return [Finding(level, 'anchors', message, '; '.join(fixes))]


def best_factor(
    boxes: np.ndarray, sizes: np.ndarray, generator: Any, poor: np.ndarray
) -> tuple[float, int]:
    """Power of two that fits all anchors best to the objects.

    Args:
        boxes: Left, top, right, bottom, shape (N, 4).
        sizes: Width and height of each box's padded image, shape (N, 2).
        generator: `AnchorGenerator` of mmdet.
        poor: Flags of the objects that no anchor fits, shape (N,).

    Returns:
        The factor, and about how many objects no resized anchor fits.
    """
    if poor.sum() < GROUP:
        return 1.0, int(poor.sum())
    left = {}
    for factor in FACTORS:
        scaled = [
            (anchors - middle) * factor + middle
            for anchors in generator.base_anchors
            for middle in [(anchors[:, :2] + anchors[:, 2:]).repeat(1, 2) / 2]
        ]
        left[factor] = left_by(scaled, boxes, sizes, generator, poor)
    best = min(left, key=lambda x: (left[x], max(x, 1 / x)))
    return best, left[best]


def left_by(
    base_anchors: Sequence[Any],
    boxes: np.ndarray,
    sizes: np.ndarray,
    generator: Any,
    poor: np.ndarray,
) -> int:
    """About how many objects other base anchors do not fit, from a sample."""
    # Few of many objects are poor: a sample of each kind is enough to choose.
    weights = np.zeros(len(boxes))
    for group in (poor, ~poor):
        rows = np.flatnonzero(group)
        chosen = rows[:: len(rows) // TRIED + 1]
        weights[chosen] = len(rows) / max(len(chosen), 1)
    sample = np.flatnonzero(weights)
    changed = SimpleNamespace(
        base_anchors=base_anchors, strides=generator.strides
    )
    ious = generator_iou(boxes[sample], sizes[sample], changed)
    return round(float(weights[sample] @ (ious < POOR_IOU)))


def turned_left(
    boxes: np.ndarray, sizes: np.ndarray, generator: Any, poor: np.ndarray
) -> float:
    """About how many objects anchors of the inverse ratios do not fit.

    Infinite for generators without common ratios, or with few poor objects.
    """
    import torch

    # SSD has ratios per level, YOLO has none.
    ratios = getattr(generator, 'ratios', None)
    if poor.sum() < GROUP or not torch.is_tensor(ratios):
        return inf
    # A location is the middle of its anchors, unless `center_offset` is set.
    turned = [x[:, [1, 0, 3, 2]] for x in generator.base_anchors]
    return left_by(turned, boxes, sizes, generator, poor)


def rounded(values: Sequence[float]) -> list[float]:
    return [float(f'{x:.3g}') for x in values]


def times(factor: float) -> str:
    return f'{factor:g} times' if factor > 1 else f'1/{1 / factor:g}'


def resized_anchors(generator: Any, key: str, factor: float) -> str:
    """Fix that multiplies all anchors of a generator by a factor."""
    import torch

    base = getattr(generator, 'octave_base_scale', None)
    scales = getattr(generator, 'scales', None)
    if base is not None:
        right = f'{key}.octave_base_scale={base * factor:g}'
    elif torch.is_tensor(scales):
        listed = ','.join(f'{x * factor:g}' for x in scales.tolist())
        right = f'{key}.scales=[{listed}]'
    else:
        return f'multiply the sizes of {key} by {factor:g}'
    return (
        f'{right}: mmdet multiplies it by base_sizes, which are the strides '
        'unless set'
    )

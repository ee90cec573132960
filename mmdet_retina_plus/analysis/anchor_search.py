"""Search for scales, ratios and levels of anchors that fit objects better."""

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from mmdet.models.task_modules import AnchorGenerator

from mmdet_retina_plus.common.anchor_iou import (
    GOOD_IOU,
    POOR_IOU,
    generator_iou,
)

from .anchor_fit import Objects

SCALES = (1, 1.2, 1.4, 1.7, 2, 2.4, 2.8, 3.4, 4, 4.8, 5.7, 6.7, 8, 9.5, 11, 13)
"""Octave base scales, a quarter of an octave apart."""
MOST = 4000
"""Objects that each candidate is tried on."""
NEGLIGIBLE = 0.03
"""Gain that does not justify a change."""
PER_DOUBLING = 0.05
"""Gain that justifies twice the anchors."""


APART = 1.25
"""Smallest factor between ratios with separate anchors."""


class Shapes(NamedTuple):
    """Options of an `AnchorGenerator` that are searched."""

    octave_base_scale: float
    ratios: tuple[float, ...]
    strides: tuple[int, ...]


class Suggestion(NamedTuple):
    """Anchors that fit better.

    Attributes:
        generator: The better generator.
        options: Its arguments, as values of a config.
        changes: Those that differ from the config's.
        anchors: Anchors per image, relative to their present number.
    """

    generator: Any
    options: dict[str, Any]
    changes: dict[str, Any]
    anchors: float


def shapes_of(generator: Any) -> Shapes | None:
    """Read the options of a generator, None if it has other options.

    A single scale is an octave base scale with one scale per octave. Several
    scales, and the sizes of SSD and YOLO, are not read.
    """
    strides = [stride[0] for stride in generator.strides]
    if (
        type(generator) is not AnchorGenerator
        or (generator.octave_base_scale is None and len(generator.scales) > 1)
        or generator.centers is not None
        or list(generator.base_sizes) != strides
        or any(across != down for across, down in generator.strides)
    ):
        return None
    ratios = generator.ratios.tolist()
    return Shapes(
        generator.octave_base_scale or generator.scales.item(),
        tuple(round(ratio, 4) for ratio in ratios),
        tuple(strides),
    )


def options_of(shapes: Shapes, like: Any) -> dict[str, Any]:
    """Arguments of `AnchorGenerator`, in the form of the config's generator.

    Args:
        shapes: The options to write.
        like: Generator of the config.
    """
    scale = shapes.octave_base_scale
    return dict(
        **(
            dict(scales=[scale])
            if like.octave_base_scale is None
            else dict(
                octave_base_scale=scale,
                scales_per_octave=like.scales_per_octave,
            )
        ),
        ratios=list(shapes.ratios),
        strides=list(shapes.strides),
    )


def build(shapes: Shapes, like: Any) -> Any:
    """Build a generator with other shapes, otherwise like the config's."""
    return AnchorGenerator(
        **options_of(shapes, like), center_offset=like.center_offset
    )


def ratio_choices(objects: Objects, now: Sequence[float]) -> list[tuple]:
    """Ratios to try: the present ones, and quantiles of the objects' ratios.

    There are as many quantiles as present ratios, and two more.
    """
    logs = np.log2(objects.ratios)
    choices = [tuple(now)]
    for number in (len(now), len(now) + 2):
        places = (np.arange(number) + 0.5) / number
        found = 2 ** np.quantile(logs, places)
        choices.append(distinct([float(f'{ratio:.2g}') for ratio in found]))
    return list(dict.fromkeys(choices))


def distinct(ratios: Sequence[float]) -> tuple[float, ...]:
    """Drop ascending ratios closer than `APART` to the previous one."""
    kept = [ratios[0]]
    for ratio in ratios[1:]:
        if ratio >= APART * kept[-1]:
            kept.append(ratio)
    return tuple(kept)


def level_choices(strides: Sequence[int], finer: bool) -> list[tuple]:
    """Strides to try: the present ones, and with a finer level.

    Args:
        strides: The present strides.
        finer: Whether the neck can have such a level.
    """
    now = tuple(strides)
    if not finer or now[0] % 2:
        return [now]
    first = now[0] // 2
    return [now, (first, *now[:-1]), (first, *now)]


def search(
    objects: Objects,
    generator: Any,
    finer: bool,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Suggestion | None:
    """Find anchors of the lowest cost, with as few changes as possible.

    The cost is the fraction of the objects below an IoU of .5, plus the mean
    of 1 - IoU, plus `PER_DOUBLING` for twice the anchors. Neither the mean IoU
    nor the fraction below .5 gets worse; that below .4 may rise by less than
    the other falls.

    Args:
        objects: Objects of the training data.
        generator: Generator of the config.
        finer: Whether the neck can have a finer level.
        progress: Wraps an iterable to show progress.

    Returns:
        Suggestion; None if no change is worthwhile, or the generator lists
        sizes.
    """
    now = shapes_of(generator)
    if now is None:
        return None
    sample = objects.some(MOST)
    scales = dict.fromkeys((now.octave_base_scale, *SCALES))
    candidates = [
        Shapes(*options)
        for options in product(
            scales,
            ratio_choices(sample, now.ratios),
            level_choices(now.strides, finer),
        )
    ]
    fits = {
        shapes: misfit(sample, build(shapes, generator))
        for shapes in progress(candidates)
    }
    costs = {
        shapes: fit[1:].sum()
        + PER_DOUBLING * max(0, np.log2(density(shapes) / density(now)))
        for shapes, fit in fits.items()
        if is_no_worse(fit, fits[now])
    }
    least = min(costs.values())
    ranked = sorted(
        (x for x in costs if costs[x] + NEGLIGIBLE < costs[now]),
        key=lambda shapes: (
            costs[shapes] > least + NEGLIGIBLE / 2,
            len(changes_of(shapes, now)),
            costs[shapes],
        ),
    )
    before = misfit(objects, generator)
    for shapes in ranked:
        better = build(shapes, generator)
        # The sample may hide what becomes worse.
        if is_no_worse(misfit(objects, better), before):
            options, present = (
                options_of(x, generator) for x in (shapes, now)
            )
            return Suggestion(
                better,
                options,
                {k: v for k, v in options.items() if v != present[k]},
                density(shapes) / density(now),
            )
    return None


def misfit(objects: Objects, generator: Any) -> np.ndarray:
    """Fractions of objects below IoUs of .4 and .5, and mean of 1 - IoU."""
    ious = generator_iou(objects.boxes, objects.sizes, generator)
    return np.array(
        [(ious < POOR_IOU).mean(), (ious < GOOD_IOU).mean(), 1 - ious.mean()]
    )


def is_no_worse(fit: np.ndarray, before: np.ndarray) -> bool:
    """Whether a `misfit` is as good as another one; see `search`."""
    return bool(
        (fit[1:] <= before[1:]).all() and fit[:2].sum() <= before[:2].sum()
    )


def density(shapes: Shapes) -> float:
    """Number of anchors, up to a constant factor."""
    return len(shapes.ratios) * sum(stride**-2 for stride in shapes.strides)


def changes_of(shapes: Shapes, now: Shapes) -> list[str]:
    """Names of the options that differ."""
    return [x for x in Shapes._fields if getattr(shapes, x) != getattr(now, x)]

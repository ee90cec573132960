"""Run single pipeline steps on samples: what they drop or change."""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmdet_retina_plus.common.text import quantity

from .data_sets import silence
from .findings import Finding

TRIES, MANY_TRIES = 4, 32
"""Runs that test a step for randomness; more if mmcv marks it as random."""
MANY = 0.2
"""Fraction of the objects that a filter may drop without a warning."""
FOR_GOOD = ('Flip', 'Crop', 'Affine', 'Shift', 'Rotate', 'Expand')
"""Suffixes of steps that predictions are not mapped back through."""


@contextmanager
def kept_randomness() -> Iterator[None]:
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def innermost(dataset: Any) -> Any:
    """Return the first data set within wrappers."""
    while True:
        inner = getattr(dataset, 'dataset', None)
        members = getattr(dataset, 'datasets', None) or [inner]
        if members[0] is None:
            return dataset
        dataset = members[0]


def steps_of(dataset: Any) -> list[Any]:
    pipeline = getattr(innermost(dataset), 'pipeline', ())
    return list(getattr(pipeline, 'transforms', pipeline))


def place_of(number: int, step: Any) -> str:
    return f'pipeline[{number}] ({type(step).__name__})'


def objects_in(results: Mapping) -> int | None:
    """Number of objects to train on, None before they are loaded."""
    boxes = results.get('gt_bboxes')
    if boxes is None:
        return None
    ignored = results.get('gt_ignore_flags')
    return len(boxes) - int(0 if ignored is None else np.sum(ignored))


@dataclass
class Loss:
    """What a step drops.

    Attributes:
        objects: Number of dropped objects.
        of: Number of objects that it gets.
        samples: Number of images that it leaves without objects.
    """

    objects: int = 0
    of: int = 0
    samples: int = 0


def losses_by_step(dataset: Any, indices: Sequence[int]) -> dict[str, Loss]:
    """Count what the steps of a pipeline drop, by step."""
    inner = innermost(dataset)
    steps = steps_of(dataset)
    found: dict[str, Loss] = {}
    if not steps:
        return found
    with silence(), kept_randomness():
        for index in indices:
            results = copy.deepcopy(inner.get_data_info(index))
            before = 0
            for number, step in enumerate(steps):
                results = step(results)
                now = 0 if results is None else objects_in(results)
                if before and now is not None:
                    loss = found.setdefault(place_of(number, step), Loss())
                    loss.objects += max(before - now, 0)
                    loss.of += before
                    loss.samples += now == 0
                if results is None or 'inputs' in results:
                    break
                before = now or 0
    return found


def check_losses(
    key: str, dataset: Any, indices: Sequence[int], empty: bool
) -> list[Finding]:
    """Report steps that drop all objects, and filters that drop many.

    Args:
        key: Dotted key of the data set.
        dataset: Data set as the runner builds it.
        indices: Indices of images that can be loaded.
        empty: Whether no object is left after the pipeline.
    """
    filters = any('Filter' in type(x).__name__ for x in steps_of(dataset))
    if not (empty or filters):
        return []
    losses = losses_by_step(dataset, indices)
    for where, loss in losses.items():
        # A filter drops the same objects in every epoch, a crop does not.
        steady = 'Filter' in where
        if empty and loss.samples == len(indices):
            level: Any = 'error' if steady else 'warning'
            what = f'every object of {quantity(loss.samples, "sample")}'
        elif steady and loss.objects > MANY * loss.of:
            level = 'warning'
            what = (
                f'{loss.objects} of {quantity(loss.of, "object")} in '
                f'{quantity(len(indices), "sample")}'
            )
        else:
            continue
        return [
            Finding(
                level,
                f'{key}.{where}',
                f'it drops {what}',
                f'correct its sizes or thresholds, or leave {key}.{where} out',
            )
        ]
    return []


def looks(results: Any) -> Any:
    image = results.get('img') if isinstance(results, Mapping) else None
    return image if isinstance(image, np.ndarray) else None


def differ(image: Any, other: Any) -> bool:
    return image.shape != other.shape or not np.array_equal(image, other)


def check_chance(
    name: str, key: str, dataset: Any, index: int
) -> list[Finding]:
    """Report validation steps that are random or move pixels for good.

    Args:
        name: 'val' or 'test'.
        key: Dotted key of the data set.
        dataset: Data set as the runner builds it.
        index: Index of an image that can be loaded.
    """
    steps = steps_of(dataset)
    if not steps:
        return []
    results = copy.deepcopy(innermost(dataset).get_data_info(index))
    with silence(), kept_randomness():
        for number, step in enumerate(steps):
            before = looks(results)
            if before is None:
                results = step(results)
                continue
            given = copy.deepcopy(results)
            results = step(results)
            after = looks(results)
            if after is None:
                break
            where = f'{key}.{place_of(number, step)}'
            for seed in range(tries_of(step)):
                np.random.seed(seed)
                random.seed(seed)
                again = looks(step(copy.deepcopy(given)))
                if again is not None and differ(after, again):
                    if type(step).__name__.endswith(FOR_GOOD):
                        return [moved(name, where, ' at random')]
                    return [by_chance(name, where)]
            kind = type(step).__name__
            if kind.endswith(FOR_GOOD) and differ(before, after):
                return [moved(name, where)]
    return []


def tries_of(step: Any) -> int:
    random_methods = getattr(step, '_methods_with_randomness', ())
    return MANY_TRIES if random_methods else TRIES


def by_chance(name: str, where: str) -> Finding:
    return Finding(
        'warning',
        where,
        'it changes validation images at random, so AP is wrong',
        f'leave it out of the {name} pipeline',
    )


def moved(name: str, where: str, how: str = '') -> Finding:
    return Finding(
        'error',
        where,
        f'it moves pixels of validation images{how}, but predicted boxes '
        'are not moved back, so AP is wrong',
        f'leave it out of the {name} pipeline',
    )

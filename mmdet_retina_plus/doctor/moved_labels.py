"""Find pipeline steps that move images and boxes, but not masks or maps."""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .data_sets import silence
from .findings import Finding
from .mask_settings import MASKS_STAY
from .pipeline_trials import kept_randomness, place_of

IMAGES, TRIES = 2, 4
"""Number of images, and of passes through the pipeline: steps are random."""
LABELS = {'gt_seg_map': 'maps', 'gt_masks': 'masks'}
"""Labels to watch, and their names in messages."""


class Recorder:
    """Wrap a step and record labels that it fails to move.

    Args:
        step: Transform.
        found: Gets a pair for each such label: the step and the label's key.
    """

    def __init__(self, step: Any, found: list[tuple[Any, str]]) -> None:
        self.step = step
        self.found = found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.step, name)

    def __call__(self, results: Any) -> Any:
        before = snapshot(results)
        after = self.step(results)
        for key in stays(before, snapshot(after)):
            self.found.append((self.step, key))
        return after


def polygons(masks: Any) -> list[np.ndarray]:
    """Return the arrays of bitmap or polygon masks."""
    return [
        part
        for mask in masks.masks
        for part in (mask if isinstance(mask, list) else [mask])
    ]


def snapshot(results: Any) -> dict[str, list[np.ndarray]]:
    """Copy the image and its labels as arrays."""
    if not isinstance(results, Mapping):
        return {}
    image: Any = results.get('img')
    boxes: Any = results.get('gt_bboxes')
    if not isinstance(image, np.ndarray) or boxes is None:
        return {}
    corners: Any = getattr(boxes, 'tensor', boxes)
    found: dict[str, list[np.ndarray]] = {
        'img': [image],
        'gt_bboxes': [getattr(corners, 'numpy', lambda: corners)()],
    }
    if isinstance(results.get('gt_seg_map'), np.ndarray):
        found['gt_seg_map'] = [results['gt_seg_map']]
    if hasattr(results.get('gt_masks'), 'masks'):
        found['gt_masks'] = polygons(results['gt_masks'])
    return copy.deepcopy(found)


def equal(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> bool:
    return len(some) == len(others) and all(map(np.array_equal, some, others))


def stays(before: Mapping, after: Mapping) -> list[str]:
    """Labels that a step left unchanged while boxes and pixels moved."""
    if not (before and after) or any(
        equal(before[key], after[key]) for key in ('img', 'gt_bboxes')
    ):
        return []
    return [
        key
        for key in LABELS
        if key in before
        and key in after
        and equal(before[key], after[key])
        # Labels without objects look the same after every move.
        and any(x.size and np.ptp(x) for x in before[key])
    ]


def pipelines_in(dataset: Any) -> Iterator[list]:
    """Yield the lists of steps of a data set and its wrappers."""
    members = [dataset]
    while members:
        one = members.pop()
        steps = getattr(one, 'pipeline', None)
        steps = getattr(steps, 'transforms', steps)
        if isinstance(steps, list):
            yield steps
        members += getattr(one, 'datasets', None) or [
            x for x in [getattr(one, 'dataset', None)] if x is not None
        ]


def loads_labels(step: Any) -> bool:
    flags = (getattr(step, x, False) for x in ('with_mask', 'with_seg'))
    return any(flags)


def check_moved(
    key: str, dataset: Any, indices: Sequence[int]
) -> list[Finding]:
    """Report steps that move images and boxes, but not maps or masks.

    Args:
        key: Dotted key of the data set.
        dataset: Training data set as the runner builds it.
        indices: Indices of images that can be loaded.
    """
    pipelines = list(pipelines_in(dataset))
    if not any(loads_labels(step) for steps in pipelines for step in steps):
        return []
    kept = [list(steps) for steps in pipelines]
    found: list[tuple[Any, str]] = []
    for steps in pipelines:
        steps[:] = [Recorder(step, found) for step in steps]
    try:
        with silence(), kept_randomness():
            for seed in range(TRIES):
                np.random.seed(seed)
                random.seed(seed)
                for index in indices[:IMAGES]:
                    dataset[index]
    except Exception:  # A random failure: `load_samples` passed before.
        return []
    finally:
        for steps, own in zip(pipelines, kept, strict=True):
            steps[:] = own
    findings = {}
    for steps in kept:
        for number, step in enumerate(steps):
            for mover, label in found:
                name = type(step).__name__
                if mover is not step or name in MASKS_STAY:
                    continue
                where = f'{key}.{place_of(number, step)}'
                findings[where] = Finding(
                    'error',
                    where,
                    f'{name} moves images and boxes, but not their '
                    f'{LABELS[label]}',
                    f'leave {name} out, or replace it by Rotate, ShearX or '
                    'TranslateX, which move maps and masks',
                )
    return list(findings.values())

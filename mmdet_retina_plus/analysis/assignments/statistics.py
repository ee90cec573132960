"""Statistics of assignments: positives per object by size."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmdet_retina_plus.common.anchor_iou import AREAS, size_group

from .assignment import IGNORED, NEGATIVE, POSITIVE
from .strategies import Scene

STATES = dict(positives=POSITIVE, ignored=IGNORED, negatives=NEGATIVE)


class Counts(NamedTuple):
    """Numbers of one image under one strategy.

    Attributes:
        sides: Square root of each object's box area, shape (G,).
        labels: Shape (G,).
        positives: Number of positives of each object, shape (G,).
        strides: Stride of each level.
        by_state: Priors of each level, by `STATES`.
    """

    sides: np.ndarray
    labels: np.ndarray
    positives: np.ndarray
    strides: Sequence[float]
    by_state: dict[str, list[int]]


def counts_of(scene: Scene) -> Counts:
    assignment = scene.assignment
    return Counts(
        scene.sides,
        scene.labels,
        assignment.positives_of(len(scene.boxes)),
        assignment.strides,
        {name: assignment.count(state) for name, state in STATES.items()},
    )


def statistics(images: Sequence[Counts], classes: Sequence[str]) -> dict:
    """Summarise one strategy over all images, as JSON values.

    Args:
        images: One item per image.
        classes: Names of the classes.
    """
    counts = np.concatenate([image.positives for image in images])
    sides = np.concatenate([image.sides for image in images])
    labels = np.concatenate([image.labels for image in images])
    groups = size_group(sides**2)
    by_size = {'all': of_objects(counts)}
    for number, name in enumerate(AREAS):
        by_size[name] = of_objects(counts[groups == number])
    levels = {
        name: np.sum([image.by_state[name] for image in images], axis=0)
        for name in STATES
    }
    totals = {name: int(level.sum()) for name, level in levels.items()}
    return dict(
        images=len(images),
        **totals,
        negatives_per_positive=ratio(totals['negatives'], totals['positives']),
        by_level=[
            dict(stride=stride)
            | {name: int(level[number]) for name, level in levels.items()}
            for number, stride in enumerate(images[0].strides)
        ],
        by_size=by_size,
        by_class={
            name_of(label, classes): of_objects(counts[labels == label])
            for label in np.unique(labels)
        },
        objects=[
            dict(side=float(side), label=int(label), positives=int(count))
            for side, label, count in zip(sides, labels, counts, strict=True)
        ],
    )


def of_objects(counts: np.ndarray) -> dict[str, Any]:
    """Number of objects, mean of their positives, and number without any."""
    return dict(
        objects=len(counts),
        positives_per_object=ratio(int(counts.sum()), len(counts)),
        without=int((counts == 0).sum()),
    )


def ratio(number: int, divisor: int) -> float | None:
    return number / divisor if divisor else None


def name_of(label: int, classes: Sequence[str]) -> str:
    return classes[label] if label < len(classes) else f'label {label}'

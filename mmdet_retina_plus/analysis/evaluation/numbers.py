"""All numbers of a metric for the page and the files."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .average_precision import (
    AT_50,
    AT_75,
    RECALLS,
    Precisions,
    known_mean,
    precisions,
    summary,
)
from .columns import Columns
from .confusion import confusion_matrix
from .error_kinds import ERRORS, corrected_ap, error_costs, error_counts
from .matching import THRESHOLDS
from .score_curves import (
    best_threshold,
    calibration,
    over_scores,
    ranked,
    score_grid,
)


def numbers_of(
    columns: Columns, classes: Sequence[str], score: float | None = None
) -> dict[str, Any]:
    """Compute the numbers of all classes together and of each class.

    Args:
        columns: Detections and objects.
        classes: Names of the classes.
        score: Minimum score of the confusion matrix. None: the score at which
            F1 of all classes together is largest.
    """
    found = precisions(columns)
    errors = error_counts(columns)
    best = best_threshold(ranked(columns))
    if score is None:
        score = best['score']
    # If no detection is a true positive, show all of them.
    score = float(columns.scores.min(initial=1)) if score is None else score
    costs = error_costs(columns)
    return dict(
        summary=summary(found),
        objects=int(columns.num_objects().sum()),
        detections=len(columns.labels),
        by_threshold=by_threshold(found),
        by_class=[
            of_class(columns, found, label, name)
            | dict(errors=named(errors[label]))
            for label, name in enumerate(classes)
        ],
        best=best,
        score_thr=score,
        confusion=confusion_matrix(columns, score).tolist(),
        errors={
            name: dict(count=count, cost=costs[name])
            for name, count in named(errors.sum(axis=0)).items()
        },
        AP50_without_errors=corrected_ap(columns, list(ERRORS)),
        calibration=calibration(ranked(columns)),
        curves=curves_of(columns, found, classes),
    )


def named(counts: NDArray) -> dict[str, int]:
    """Number of errors by the name of their kind."""
    return {name: int(counts[kind]) for kind, name in ERRORS.items()}


def by_threshold(found: Precisions) -> list[dict[str, float | None]]:
    """AP and AR at each IoU threshold."""
    return [
        dict(
            IoU=round(float(threshold), 2),
            AP=known_mean(found.precision[number, ..., 0]),
            AR=known_mean(found.recall[number, :, 0]),
        )
        for number, threshold in enumerate(THRESHOLDS)
    ]


def of_class(
    columns: Columns, found: Precisions, label: int, name: str
) -> dict[str, Any]:
    """Numbers of a class: AP, the best threshold and calibration."""
    one = Precisions(
        found.precision[:, :, label : label + 1],
        found.recall[:, label : label + 1],
    )
    items = ranked(columns, label)
    reliability = calibration(items)
    return dict(
        name=name,
        objects=items.num,
        detections=int((columns.labels == label).sum()),
        **summary(one),
        best=best_threshold(items),
        ECE=reliability and reliability['ECE'],
    )


def curves_of(
    columns: Columns, found: Precisions, classes: Sequence[str]
) -> dict[str, Any]:
    """Curves of precision over recall; and of all rates over the score."""
    grid = score_grid(columns)
    curves = []
    for label, name in enumerate([*classes, None]):
        number = None if name is None else label
        chosen = slice(None) if number is None else slice(number, number + 1)
        precision = found.precision[:, :, chosen, 0]
        if np.isnan(precision).all():
            continue
        by_score = over_scores(ranked(columns, number), grid)
        curves.append(
            dict(
                name=name,
                precision_50=class_mean(precision[AT_50]),
                precision_75=class_mean(precision[AT_75]),
                precision_mean=class_mean(precision.mean(axis=0)),
                **{
                    key: with_none(values)
                    for key, values in zip(
                        ('precision', 'recall', 'F1'), by_score, strict=True
                    )
                },
            )
        )
    return dict(recall=RECALLS.tolist(), score=grid.tolist(), of=curves)


def class_mean(precision: NDArray) -> list[float]:
    """Average (R, C) over classes with objects."""
    return np.nanmean(precision, axis=1).tolist()


def with_none(values: NDArray) -> list[float | None]:
    """Replace NaN, which JSON lacks, by None."""
    return [None if np.isnan(x) else float(x) for x in values]

"""Means and spreads of the trials of each point of a sweep."""

import math
import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeGuard

from .point_labels import identity, label_points, short_labels
from .sweep_result import SweepResult, TrialResult

STATES = ('complete', 'running', 'waiting', 'pruned', 'failed')


@dataclass(frozen=True)
class Summary:
    """Mean and spread of a number over trials.

    Attributes:
        trials: At least one.
        values: One a trial.
        mean: Mean of the values.
        spread: Sample standard deviation; None for one value.
    """

    trials: list[TrialResult]
    values: list[float]
    mean: float
    spread: float | None


@dataclass(frozen=True)
class PointResult:
    """The trials of one point.

    Attributes:
        point: Changes of the config.
        label: What tells it from the other points, of any length.
        short_label: No other point has it either.
        planned: Seeds that were planned or tried.
        trials: Trials in order of their seeds.
        metric: Over the complete trials that have a value; None without any.
        seconds: Over the complete trials.
    """

    point: dict[str, Any]
    label: str
    short_label: str
    planned: int
    trials: list[TrialResult]
    metric: Summary | None
    seconds: Summary | None

    def count(self, state: str) -> int:
        """Number of trials in a state."""
        return sum(trial.state == state for trial in self.trials)


def is_meaningful(value: float | None, metric: str) -> TypeGuard[float]:
    """Whether a value says how good a model is.

    pycocotools answers -1 where no object has the size that an mAP is of.
    """
    return (
        value is not None
        and math.isfinite(value)
        and not (value < 0 and re.search('A[PR]', metric))
    )


def summarize(pairs: list[tuple[TrialResult, float]]) -> Summary | None:
    """Mean and spread of the trials' values, None without trials."""
    if not pairs:
        return None
    values = [value for _, value in pairs]
    return Summary(
        trials=[trial for trial, _ in pairs],
        values=values,
        mean=statistics.mean(values),
        spread=statistics.stdev(values) if len(values) > 1 else None,
    )


def summarize_points(sweep: SweepResult) -> list[PointResult]:
    """One result a point: those of the spec, then any other that was tried.

    A spec may have lost points since the study began.
    """
    points: dict[str, dict[str, Any]] = {}
    for point in [*sweep.points, *(trial.point for trial in sweep.trials)]:
        points.setdefault(identity(point), point)
    trials: dict[str, list[TrialResult]] = {name: [] for name in points}
    for trial in sorted(sweep.trials, key=lambda t: (t.seed, t.number)):
        trials[identity(trial.point)].append(trial)
    planned = {identity(point) for point in sweep.points}
    labels = label_points(list(points.values()))
    return [
        PointResult(
            point=points[name],
            label=label,
            short_label=short_label,
            planned=len(
                {trial.seed for trial in trials[name]}
                | set(sweep.seeds if name in planned else [])
            ),
            trials=trials[name],
            metric=summarize(complete_values(trials[name], sweep.metric)),
            seconds=summarize(complete_seconds(trials[name])),
        )
        for name, label, short_label in zip(
            points, labels, short_labels(list(points.values())), strict=True
        )
    ]


def complete_values(
    trials: list[TrialResult], metric: str
) -> list[tuple[TrialResult, float]]:
    """Complete trials with what their last validation says, if anything."""
    return [
        (trial, trial.value)
        for trial in trials
        if trial.state == 'complete' and is_meaningful(trial.value, metric)
    ]


def complete_seconds(
    trials: list[TrialResult],
) -> list[tuple[TrialResult, float]]:
    return [
        (trial, trial.seconds)
        for trial in trials
        if trial.state == 'complete' and trial.seconds is not None
    ]


def best_mean(results: Iterable[PointResult]) -> float | None:
    """The highest mean of the metric.

    None where nothing is finished, or all of several are alike.
    """
    means = [result.metric.mean for result in results if result.metric]
    if not means or (len(means) > 1 and min(means) == max(means)):
        return None
    return max(means)


def is_best(result: PointResult, best: float | None) -> bool:
    return result.metric is not None and result.metric.mean == best


def count_states(results: Iterable[PointResult]) -> dict[str, int]:
    """Trials in each state; those that nothing has begun are waiting."""
    results = list(results)
    counts = {
        state: sum(result.count(state) for result in results)
        for state in STATES
    }
    counts['waiting'] += sum(
        result.planned - len({trial.seed for trial in result.trials})
        for result in results
    )
    return counts


def show_counts(results: list[PointResult]) -> str:
    """`12 of 21 trials finished, 2 running, 1 failed, 6 waiting`."""
    counts = count_states(results)
    planned = sum(result.planned for result in results)
    parts = [f'{counts.pop("complete")} of {planned} trials finished']
    parts += [f'{count} {state}' for state, count in counts.items() if count]
    return ', '.join(parts)


def error_lines(error: str) -> list[str]:
    """Lines of an error that are not blank, without colours of a terminal."""
    text = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', error)
    lines = [
        ''.join(c if c.isprintable() else ' ' for c in line).strip()
        for line in text.splitlines()
    ]
    return [line for line in lines if line]

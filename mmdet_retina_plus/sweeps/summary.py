"""What the trials of each point of a sweep come to."""

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
class Unit:
    """How a number is shown.

    Attributes:
        label: Of an axis.
        factor: From the number as it is stored to that which is shown.
        pattern: As of `format`.
    """

    label: str
    factor: float
    pattern: str

    def show(self, value: float) -> str:
        return format(self.factor * value, self.pattern)

    def name(self, value: float) -> str:
        """`bbox_mAP (%) 28.8`."""
        return f'{self.label} {self.show(value)}'

    def show_summary(self, summary: 'Summary | None') -> str:
        """`28.8 ± 5.4`, without a spread where there is none."""
        if summary is None:
            return ''
        mean = self.show(summary.mean)
        if summary.spread is None:
            return mean
        return f'{mean} ± {self.show(summary.spread)}'


@dataclass(frozen=True)
class Summary:
    """Mean and spread of a number over trials.

    Attributes:
        trials: At least one.
        values: One a trial.
        mean: Of the values.
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
        trials: In order of their seeds.
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


def is_percent(metric: str) -> bool:
    """Whether a metric is an mAP, from 0 to 1 and shown in percent.

    `coco/bbox_mAP`, `coco/segm_mAP_50` and `pascal_voc/mAP` are.
    """
    return 'mAP' in metric


def metric_unit(metric: str) -> Unit:
    """One decimal of a percent for an mAP, four digits of anything else."""
    name = metric.rpartition('/')[2]
    if is_percent(metric):
        return Unit(f'{name} (%)', 100.0, '.1f')
    return Unit(name, 1.0, '.4g')


def time_unit(seconds: Iterable[float]) -> Unit:
    """Seconds, minutes or hours: what the longest time calls for."""
    longest = max(seconds, default=0.0)
    if longest < 180:
        return Unit('seconds', 1.0, '.3g')
    if longest < 180 * 60:
        return Unit('minutes', 1 / 60, '.3g')
    return Unit('hours', 1 / 3600, '.3g')


def show_seconds(seconds: float) -> str:
    """`43 s`, `12 min 05 s`, `3 h 07 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f'{rest} s'
    if minutes < 60:
        return f'{minutes} min {rest:02d} s'
    return f'{minutes // 60} h {minutes % 60:02d} min'


def is_score(value: float | None, metric: str) -> TypeGuard[float]:
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
        if trial.state == 'complete' and is_score(trial.value, metric)
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

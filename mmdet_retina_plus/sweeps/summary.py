"""Result of a sweep so far, as data and as two tables."""

import math
import re
from dataclasses import dataclass, field, fields
from typing import Any, TypeGuard

import pandas as pd

from .point_labels import identity, label_points, short_labels
from .spec import Sweep

STATES = ('complete', 'running', 'waiting', 'pruned', 'failed')


@dataclass(frozen=True)
class TrialResult:
    """One training run of a sweep in any state.

    Attributes:
        number: Number of the trial in the study.
        point: Changes of the config, dotted key as in the spec to value,
            without the spec's prefix.
        seed: Seed of the training run.
        state: `waiting`, `running`, `complete`, `pruned` or `failed`.
        value: Metric of the last validation; None before the first.
        curve: Training step, or epoch, to metric, for every validation.
        seconds: Training time so far; None before the start.
        error: Last lines of a failed run; empty otherwise.
        folder: Work dir of the trial.
    """

    number: int
    point: dict[str, Any]
    seed: int
    state: str
    value: float | None
    curve: dict[int, float]
    seconds: float | None
    error: str
    folder: str


@dataclass(frozen=True)
class SweepResult(Sweep):
    """Everything that a report needs to know about a sweep.

    Attributes:
        trials: Queued trials in any order; planned ones may be missing.
        by_epoch: Whether runs count epochs instead of steps.
    """

    trials: list[TrialResult] = field(default_factory=list)
    by_epoch: bool = False


@dataclass(frozen=True)
class Summary:
    """Tables of a sweep in any state.

    Attributes:
        sweep: The sweep that they summarise.
        trials: One row per trial, by point, seed and number. Columns: the
            attributes of `TrialResult`; `row`, the index of its point in
            `points`; `metric` and `time`, the value and the seconds of a
            complete trial, NaN where it has none.
        points: One row per point, those of the spec first, then others that
            were tried. Columns: `point`, its changes of the config; `label`,
            of any length; `short_label`, unique too; `planned`, the number of
            seeds planned or tried; the number of trials in each of `STATES`;
            `mean` and `spread`, the sample standard deviation, of the metric,
            and `time`, the mean in seconds; all NaN without a value.
    """

    sweep: SweepResult
    trials: pd.DataFrame
    points: pd.DataFrame

    @property
    def counts(self) -> str:
        """`12 of 21 trials finished, 2 running, 1 failed, 6 waiting`."""
        counts = self.points[list(STATES)].sum()
        finished, planned = counts.pop('complete'), self.points.planned.sum()
        parts = [
            f'{count} {state}' for state, count in counts.items() if count
        ]
        return ', '.join([f'{finished} of {planned} trials finished', *parts])

    @property
    def best(self) -> float | None:
        """The highest mean of the metric.

        None where nothing is finished, or all of several are alike.
        """
        means = self.points['mean'].dropna()
        if means.empty or (len(means) > 1 and means.nunique() == 1):
            return None
        return means.max()


def summarize(sweep: SweepResult) -> Summary:
    """Tables of a sweep.

    Points that left the spec since the study began are kept.
    """
    points: dict[str, dict[str, Any]] = {}
    for point in [*sweep.points, *(trial.point for trial in sweep.trials)]:
        points.setdefault(identity(point), point)
    rows = {name: row for row, name in enumerate(points)}
    trials = pd.DataFrame(
        [vars(trial) for trial in sweep.trials],
        columns=[column.name for column in fields(TrialResult)],
    )
    complete = trials.state == 'complete'
    scores = pd.Series(
        [is_meaningful(value, sweep.metric) for value in trials.value],
        dtype=bool,
    )
    trials = trials.assign(
        row=[rows[identity(point)] for point in trials.point],
        metric=trials.value.where(complete & scores).astype(float),
        time=trials.seconds.where(complete).astype(float),
    ).sort_values(['row', 'seed', 'number'])
    changes = list(points.values())
    table = pd.DataFrame(
        dict(
            point=pd.Series(changes, dtype=object),
            label=label_points(changes),
            short_label=short_labels(changes),
        )
    )
    states = pd.crosstab(trials.row, trials.state)
    seeds = {
        *((rows[identity(p)], s) for p in sweep.points for s in sweep.seeds),
        *zip(trials.row, trials.seed, strict=True),
    }
    by_point = trials.groupby('row')
    table = table.join(
        states.reindex(index=table.index, columns=STATES, fill_value=0)
    ).assign(
        planned=pd.Series([row for row, _ in seeds], dtype=int)
        .value_counts()
        .reindex(table.index, fill_value=0),
        mean=by_point.metric.mean(),
        spread=by_point.metric.std(),
        time=by_point.time.mean(),
    )
    # Seeds without a trial wait, too.
    tried = by_point.seed.nunique().reindex(table.index, fill_value=0)
    table['waiting'] += table.planned - tried
    return Summary(sweep, trials, table)


def is_meaningful(value: float | None, metric: str) -> TypeGuard[float]:
    """Whether a value says how good a model is.

    pycocotools returns -1 for an mAP of a size that no object has.
    """
    return (
        value is not None
        and math.isfinite(value)
        and not (value < 0 and re.search('A[PR]', metric))
    )


def error_lines(error: str) -> list[str]:
    """Lines of an error that are not blank, without colours of a terminal."""
    text = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', error)
    lines = [
        ''.join(c if c.isprintable() else ' ' for c in line).strip()
        for line in text.splitlines()
    ]
    return [line for line in lines if line]

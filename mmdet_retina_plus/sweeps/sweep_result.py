"""Result of a sweep so far, as data for progress and reports."""

from dataclasses import dataclass
from typing import Any


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
class SweepResult:
    """Everything that a report needs to know about a sweep.

    Attributes:
        name: Name of the spec.
        config: Path of the config that the points change.
        metric: Name in the log, as `coco/bbox_mAP`; higher is better.
        prefix: Prefix of every key of a point; ends with a dot or is empty.
        points: Planned points in the order of the spec.
        seeds: Planned seeds of each point.
        trials: Queued trials in any order; planned ones may be missing.
        by_epoch: Whether runs count epochs instead of steps.
    """

    name: str
    config: str
    metric: str
    prefix: str
    points: list[dict[str, Any]]
    seeds: list[int]
    trials: list[TrialResult]
    by_epoch: bool = False

"""Result of a sweep so far, as data for progress and reports."""

from dataclasses import dataclass, field
from typing import Any

from .spec import Sweep


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

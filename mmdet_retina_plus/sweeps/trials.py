"""One of Optuna's trials: its job, its end, and what a report says of it."""

from pathlib import Path
from typing import Any

from .plan import Job
from .spec import Point
from .sweep_result import TrialResult
from .training import try_lock

LOST = 'lost'


FAILED = 'failed'


DUPLICATE = 'duplicate'


BEAT = 20.0
"""Seconds between two signs of life."""


def job_of(trial: Any) -> Job:
    point, seed = trial.user_attrs['job']
    return point, seed


def is_over(trial: Any, retry_failed: bool) -> bool:
    """Whether a finished trial leaves its job to be done again."""
    from optuna.trial import TrialState

    reasons = (LOST, FAILED) if retry_failed else (LOST,)
    return (
        trial.state == TrialState.FAIL
        and trial.user_attrs.get('reason') in reasons
    )


def is_locked(lock: Path) -> bool:
    """Whether a process holds the lock of a trial."""
    # To write, since NFS locks no file that is open to be read.
    with lock.open('a') as file:
        return not try_lock(file.fileno())


def is_work(trial: Any) -> bool:
    """Whether a trial's time was spent on its job and not for nothing.

    Failed attempts do not count, which another one made up for, nor trials
    that were queued twice.
    """
    from optuna.trial import TrialState

    return (
        trial.state != TrialState.FAIL
        or trial.user_attrs.get('reason') == LOST
    )


def trial_result(
    trial: Any, point: Point, seconds: float | None
) -> TrialResult:
    """One of Optuna's trials as a report wants it."""
    from optuna.trial import TrialState

    states = {
        TrialState.WAITING: 'waiting',
        TrialState.RUNNING: 'running',
        TrialState.COMPLETE: 'complete',
        TrialState.PRUNED: 'pruned',
        TrialState.FAIL: 'failed',
    }
    state = states[trial.state]
    if is_over(trial, retry_failed=False):
        state = 'waiting'  # Whoever looks next queues it.
    curve = dict(sorted(trial.intermediate_values.items()))
    value = next(reversed(curve.values()), None)
    return TrialResult(
        number=trial.number,
        point=point,
        seed=job_of(trial)[1],
        state=state,
        value=trial.value if state == 'complete' else value,
        curve=curve,
        seconds=seconds,
        error=trial.user_attrs.get('error', ''),
        folder=trial.user_attrs.get('folder', ''),
    )

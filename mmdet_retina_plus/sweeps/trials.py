"""Job, worker, time and result of an Optuna trial."""

import socket
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from .plan import Job
from .spec import Point
from .summary import TrialResult
from .trial_folder import is_locked

# Reasons of Optuna's state FAIL.
LOST, FAILED, DUPLICATE = 'lost', 'failed', 'duplicate'
BEAT = 20.0
"""Seconds between two heartbeats."""
UNSIGNED = 30.0
"""Seconds that a worker has to sign a claimed trial."""


def job_of(trial: FrozenTrial) -> Job:
    point, seed = trial.user_attrs['job']
    return point, seed


def needs_retry(trial: FrozenTrial, retry_failed: bool) -> bool:
    """Whether the job of a finished trial must be queued again."""
    reasons = (LOST, FAILED) if retry_failed else (LOST,)
    reason = trial.user_attrs.get('reason')
    return trial.state == TrialState.FAIL and reason in reasons


def life(trial: FrozenTrial, grace: float) -> str:
    """Whether the worker of a running trial is 'alive', 'silent' or 'gone'.

    The lock decides where its file is visible, otherwise the age of the last
    heartbeat.

    Args:
        trial: A running trial.
        grace: Seconds without a heartbeat after which a worker counts as dead.
    """
    worker = trial.user_attrs.get('worker', {})
    lock = Path(worker.get('lock', ''))
    if lock.is_file():
        if is_locked(lock):
            return 'alive'
        # On a shared disk without locks this proves nothing.
        if worker['host'] == socket.gethostname():
            return 'gone'
    started = trial.datetime_start or datetime.now()
    seen = trial.user_attrs.get('seen', started.timestamp())
    age = time.time() - seen
    if age > (grace if worker else min(grace, UNSIGNED)):
        return 'gone'
    return 'alive' if worker and age < 3 * BEAT else 'silent'


def seconds_of_jobs(trials: Iterable[FrozenTrial]) -> dict[Job, float]:
    """Time of each started job, over all its interruptions.

    Failed attempts and duplicates do not count, lost trials do: their job
    resumes from a checkpoint.
    """
    seconds: dict[Job, float] = {}
    for trial in trials:
        is_lost = needs_retry(trial, retry_failed=False)
        is_work = is_lost or trial.state != TrialState.FAIL
        if is_work and trial.datetime_start is not None:
            job = job_of(trial)
            seconds[job] = seconds.get(job, 0.0) + seconds_of(trial)
    return seconds


def seconds_of(trial: FrozenTrial) -> float:
    """Time of a started trial, up to now if it still runs."""
    assert trial.datetime_start is not None
    start = trial.datetime_start.timestamp()
    end = (trial.datetime_complete or datetime.now()).timestamp()
    if trial.user_attrs.get('reason') == LOST:
        # The loss may have been found only days later.
        end = min(end, trial.user_attrs.get('seen', start) + BEAT)
    return end - start


def trial_result(
    trial: FrozenTrial, point: Point, seconds: float | None
) -> TrialResult:
    """An Optuna trial as data for progress and reports."""
    state = trial.state.name.lower()
    if trial.state == TrialState.FAIL:
        # The next worker queues a lost trial.
        is_lost = needs_retry(trial, retry_failed=False)
        state = 'waiting' if is_lost else 'failed'
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

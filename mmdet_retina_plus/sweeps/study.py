"""The queue of a sweep's trials, on Optuna's storages.

A training run of one point with one seed is a *job*. Each attempt at a job is
a trial of Optuna's, whose state only ever goes from waiting over running to
finished, so that any number of workers on any machine can share the queue:
a storage lets one of them turn a waiting trial into a running one.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from .lookup import dotted_items
from .points import identity
from .results import SweepResult, TrialResult
from .spec import Point, Sweep, point_text, read_point
from .summary import is_score
from .training import read_config, try_lock

logger = logging.getLogger(__name__)

JOURNAL = 'study.log'
LOST = 'lost'
FAILED = 'failed'
DUPLICATE = 'duplicate'
GRACE = 300.0
"""Seconds without a sign of life after which a trial counts as lost."""
UNSIGNED = 30.0
"""Seconds that a worker has, at most, to say that a trial is its own."""
BEAT = 20.0
"""Seconds between two signs of life."""
PAUSE = 2.0
"""Seconds between two attempts to reach a storage."""
Method = TypeVar('Method', bound=Callable[..., Any])


Job = tuple[str, int]
"""Identity of a point, and seed."""


@dataclass(frozen=True)
class Plan:
    """What all workers of a study must agree on.

    Attributes:
        sweep: Points with the values that the config's types want.
        base: Text of the whole config, which the points change.
        folder: Paths in the config are relative to it.
        prune: Whether trials that fall behind are ended.
        by_epoch: Whether the runs count epochs, and not steps.
    """

    sweep: Sweep
    base: str
    folder: str
    prune: bool = False
    by_epoch: bool = False

    def dump(self) -> dict[str, Any]:
        """As JSON can hold it."""
        sweep = vars(self.sweep) | dict(
            config=str(self.sweep.config),
            points=[point_text(point) for point in self.sweep.points],
        )
        return vars(self) | dict(sweep=sweep)

    @classmethod
    def load(cls, dumped: dict[str, Any]) -> 'Plan':
        sweep = dict(dumped['sweep'])
        sweep['config'] = Path(sweep['config'])
        sweep['points'] = [read_point(key) for key in sweep['points']]
        return cls(**dumped | dict(sweep=Sweep(**sweep)))

    @property
    def identity(self) -> str:
        """What has to be the same for a run to go on."""
        return f'{self.folder}\n{self.sweep.prefix}\n{self.base}'

    @property
    def jobs(self) -> dict[Job, Point]:
        """What is to be done, all points before the next seed."""
        return {
            (identity(point), seed): point
            for seed in self.sweep.seeds
            for point in self.sweep.points
        }


class StorageError(ValueError):
    """The storage stayed out of reach."""


def patient(method: Method) -> Method:
    """Repeat a method of `SweepStudy` while its storage is out of reach.

    A database that restarts, or a disk that is away for a minute, must not
    cost a training its result. After `grace` seconds, or as soon as the work
    is to stop, it raises a StorageError.
    """

    @wraps(method)
    def repeated(self, *args, **kwargs):
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import DBAPIError

        deadline = time.monotonic() + self.grace
        told = False
        while True:
            try:
                return method(self, *args, **kwargs)
            except (StorageInternalError, DBAPIError, OSError) as error:
                if self.stop.is_set() or time.monotonic() > deadline:
                    raise StorageError(
                        f'The storage is out of reach: {error}'
                    ) from error
                if not told:
                    logger.warning('Waiting for the storage: %s', error)
                    told = True
                self.stop.wait(PAUSE)

    return cast(Method, repeated)


class SweepStudy:
    """The trials of a sweep in a storage.

    Args:
        storage: URL of a database as Optuna takes it, or path of a journal
            file.
        name: Of the study.
        grace: Seconds without a sign of life after which the trial of a
            worker on another machine counts as lost.

    Attributes:
        stop: Set it, and nobody waits for the storage any more.

    Raises:
        ValueError: The storage cannot be reached.
        ImportError: Optuna, or a database's driver, is missing.
    """

    def __init__(self, storage: str, name: str, grace: float = GRACE) -> None:
        self.storage = open_storage(storage)
        self.name = name
        self.grace = grace
        self.stop = threading.Event()

    def create(self, plan: Plan) -> bool:
        """Make the study, or take up one that there is.

        Points and seeds may differ from those of earlier runs. Config, prefix,
        metric, and the folder that paths are relative to may not, once there
        are results: they would not compare.

        Returns:
            Whether one of these was changed, so that what failed should be
            tried again.

        Raises:
            ValueError: With what differs.
        """
        import optuna

        study = optuna.create_study(
            storage=self.storage,
            study_name=self.name,
            direction='maximize',
            load_if_exists=True,
        )
        old = study.user_attrs.get('plan')
        changed = old is not None and differences(Plan.load(old), plan)
        # Where there are no results yet, a mistake may be mended.
        if changed and self.has_results():
            raise ValueError(
                f'The study {self.name} has results already, which would not '
                'compare: go on as it began, or name another --work-dir\n'
                + '\n'.join(f'  {line}' for line in changed)
            )
        if old != plan.dump():
            study.set_user_attr('plan', plan.dump())
        return bool(changed)

    def has_results(self) -> bool:
        """Whether there are any, or a worker is about to have some."""
        from optuna.trial import TrialState

        metric = self.plan().sweep.metric
        trials = self.storage.get_all_trials(self.study_id(), deepcopy=False)
        return any(
            any(
                is_score(value, metric)
                for value in trial.intermediate_values.values()
            )
            or (
                trial.state == TrialState.RUNNING
                and self.life(trial) != 'gone'
            )
            for trial in trials
        )

    def plan(self) -> Plan:
        """Of the latest `sweep run`.

        Raises:
            ValueError: There is no such study.
        """
        attributes = self.storage.get_study_user_attrs(self.study_id())
        if 'plan' not in attributes:
            raise ValueError(
                f'The study {self.name} is no sweep of ours, or not yet set '
                'up: start it by `retina-plus sweep run`'
            )
        return Plan.load(attributes['plan'])

    def names(self) -> list[str]:
        """Of all studies in the storage."""
        return [study.study_name for study in self.storage.get_all_studies()]

    @patient
    def is_current(self, plan: Plan) -> bool:
        """Whether results by a plan are what the study compares."""
        return not differences(plan, self.plan())

    def study_id(self) -> int:
        try:
            return self.storage.get_study_id_from_name(self.name)
        except KeyError:
            raise ValueError(
                f'The storage has no study {self.name}: start one by '
                '`retina-plus sweep run`, or name another'
            ) from None

    def owners(self) -> dict[Job, Any]:
        """The trial that counts, for each job that has one.

        That is the first of a job's trials, or the one that was queued in its
        place when it was lost. Two workers may queue for the same at once;
        then the earlier counts, and nobody runs the other.
        """
        owners: dict[Job, Any] = {}
        trials = self.storage.get_all_trials(self.study_id(), deepcopy=False)
        for trial in sorted(trials, key=lambda trial: trial.number):
            job = job_of(trial)
            owner = owners.get(job)
            if owner is None or owner.number == trial.user_attrs['instead_of']:
                owners[job] = trial
        return owners

    @patient
    def fill(self, retry_failed: bool = False) -> None:
        """Queue every job that has no trial, or whose trial was lost.

        Args:
            retry_failed: Whether to queue failed ones, too.
        """
        import optuna

        study = optuna.load_study(storage=self.storage, study_name=self.name)
        owners = self.owners()
        for job in self.plan().jobs:
            owner = owners.get(job)
            if owner is not None and not is_over(owner, retry_failed):
                continue
            point, seed = job
            study.add_trial(
                optuna.trial.create_trial(
                    state=optuna.trial.TrialState.WAITING,
                    user_attrs=dict(
                        job=[point, seed],
                        instead_of=None if owner is None else owner.number,
                    ),
                )
            )

    @patient
    def claim(self) -> 'Claim | None':
        """Take a waiting trial of the plan; None if there is none."""
        from optuna.trial import TrialState

        plan = self.plan()
        jobs = plan.jobs
        for trial in self.storage.get_all_trials(
            self.study_id(), deepcopy=False, states=(TrialState.WAITING,)
        ):
            if job_of(trial) not in jobs:
                continue
            if not self.turn(trial, TrialState.RUNNING):
                continue
            if self.owners()[job_of(trial)].number == trial.number:
                self.note(trial, seen=time.time())
                return Claim(self, trial, plan)
            self.end(trial, TrialState.FAIL, reason=DUPLICATE)
        return None

    @patient
    def turn(self, trial: Any, state: Any, value: float | None = None) -> bool:
        """Change a trial's state; False if somebody else was first."""
        from optuna.exceptions import UpdateFinishedTrialError

        values = None if value is None else [value]
        try:
            return self.storage.set_trial_state_values(
                trial._trial_id, state, values
            )
        except UpdateFinishedTrialError:
            return False

    @patient
    def note(self, trial: Any, **attributes) -> bool:
        """Set attributes; False if the trial is finished."""
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            for name, value in attributes.items():
                self.storage.set_trial_user_attr(trial._trial_id, name, value)
        except UpdateFinishedTrialError:
            return False
        return True

    @patient
    def report(self, trial: Any, step: int, value: float) -> None:
        """Set the metric of a validation."""
        from optuna.exceptions import UpdateFinishedTrialError

        # If it is finished, the next `note` tells the worker so.
        with suppress(UpdateFinishedTrialError):
            self.storage.set_trial_intermediate_value(
                trial._trial_id, step, value
            )

    @patient
    def is_behind(self, trial: Any) -> bool:
        """What Optuna's median pruner says of a running trial."""
        import optuna

        study = optuna.load_study(storage=self.storage, study_name=self.name)
        trial = self.storage.get_trial(trial._trial_id)
        return optuna.pruners.MedianPruner().prune(study, trial)

    def end(
        self,
        trial: Any,
        state: Any,
        value: float | None = None,
        **attributes,
    ) -> bool:
        """Finish a trial; False if it was finished by somebody else."""
        return self.note(trial, **attributes) and self.turn(
            trial, state, value
        )

    @patient
    def recover(self) -> bool:
        """Queue the trials of workers that are gone.

        Returns:
            Whether there may be something to do, now or when a worker that
            has not been heard of for a while turns out to be gone.
        """
        from optuna.trial import TrialState

        jobs = self.plan().jobs
        silent = False
        for job, trial in self.owners().items():
            if trial.state == TrialState.RUNNING and job in jobs:
                life = self.life(trial)
                silent |= life == 'silent'
                if life == 'gone':
                    self.end(trial, TrialState.FAIL, reason=LOST)
        # Also what was lost to somebody who did not get to queue it.
        self.fill()
        return silent or any(
            trial.state == TrialState.WAITING
            for job, trial in self.owners().items()
            if job in jobs
        )

    def life(self, trial: Any) -> str:
        """Whether the worker of a running trial is 'alive' or 'gone'.

        Its lock tells where it can be seen, the age of the last sign of life
        elsewhere; between the two it is 'silent'.
        """
        worker = trial.user_attrs.get('worker', {})
        lock = Path(worker.get('lock', ''))
        if lock.is_file():
            if is_locked(lock):
                return 'alive'
            # On a disk that is shared without its locks this says nothing.
            if worker['host'] == socket.gethostname():
                return 'gone'
        started = trial.datetime_start or datetime.now()
        seen = trial.user_attrs.get('seen', started.timestamp())
        age = time.time() - seen
        grace = self.grace if worker else min(self.grace, UNSIGNED)
        if age > grace:
            return 'gone'
        return 'alive' if worker and age < 3 * BEAT else 'silent'

    def result(self) -> SweepResult:
        """What the sweep came to so far."""
        plan = self.plan()
        jobs = plan.jobs
        seconds = self.seconds()
        return SweepResult(
            name=plan.sweep.name,
            config=str(plan.sweep.config),
            metric=plan.sweep.metric,
            prefix=plan.sweep.prefix,
            points=plan.sweep.points,
            seeds=plan.sweep.seeds,
            by_epoch=plan.by_epoch,
            trials=[
                trial_result(trial, jobs[job], seconds.get(job))
                for job, trial in self.owners().items()
                if job in jobs
            ],
        )

    def seconds(self) -> dict[Job, float]:
        """Time of each job that was begun, over all its interruptions."""
        seconds: dict[Job, float] = {}
        for trial in self.storage.get_all_trials(
            self.study_id(), deepcopy=False
        ):
            start = trial.datetime_start
            if start is not None and is_work(trial):
                end = (trial.datetime_complete or datetime.now()).timestamp()
                if trial.user_attrs.get('reason') == LOST:
                    # It may have been found only days later.
                    seen = trial.user_attrs.get('seen', start.timestamp())
                    end = min(end, seen + BEAT)
                spent = end - start.timestamp()
                job = job_of(trial)
                seconds[job] = seconds.get(job, 0.0) + spent
        return seconds


class Claim:
    """A running trial that is ours.

    Args:
        study: Of the trial.
        trial: As the storage has it.
        plan: Of the study when the trial was taken.

    Attributes:
        point: Changes of the config.
        seed: Of the training run.
    """

    def __init__(self, study: SweepStudy, trial: Any, plan: Plan) -> None:
        self.study = study
        self.trial = trial
        self.plan = plan
        self.point = plan.jobs[job_of(trial)]
        _, self.seed = job_of(trial)

    def sign(self, lock: Path, folder: Path) -> bool:
        """Say who works on it, and where."""
        worker = dict(
            host=socket.gethostname(), pid=os.getpid(), lock=str(lock)
        )
        return self.study.note(self.trial, worker=worker, folder=str(folder))

    def seen(self) -> bool:
        """Give a sign of life; False if the trial was given to another."""
        return self.study.note(self.trial, seen=time.time())

    def report(self, step: int, value: float) -> None:
        """A validation's metric."""
        self.study.report(self.trial, step, value)

    def is_behind(self) -> bool:
        """Whether its best is below the median of the others at that step."""
        return self.study.is_behind(self.trial)

    def complete(self, value: float) -> bool:
        from optuna.trial import TrialState

        # Somebody may have mended the config while this was taken.
        if not self.study.is_current(self.plan):
            self.give_back()
            return False
        return self.study.end(self.trial, TrialState.COMPLETE, value)

    def prune(self) -> bool:
        from optuna.trial import TrialState

        return self.study.end(self.trial, TrialState.PRUNED)

    def fail(self, error: str) -> bool:
        from optuna.trial import TrialState

        return self.study.end(
            self.trial, TrialState.FAIL, reason=FAILED, error=error
        )

    def give_back(self) -> None:
        """Queue it again, for this worker or another."""
        from optuna.trial import TrialState

        if self.study.end(self.trial, TrialState.FAIL, reason=LOST):
            self.study.fill()


def open_storage(storage: str) -> Any:
    """Optuna's storage for the URL of a database or the path of a journal."""
    try:
        import optuna
        from optuna.storages import RDBStorage
    except ImportError as error:
        raise ImportError(
            'Sweeps need Optuna: pip install "mmdet_retina_plus[sweep]"'
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if '://' in storage:
        try:
            return RDBStorage(storage)
        except ImportError:
            raise
        except Exception as error:  # Of any database and its driver.
            raise ValueError(f'The storage cannot be used: {error}') from error
    file = Path(storage)
    if not file.parent.is_dir():
        raise ValueError(f'There is no folder {file.parent} for a journal')
    return open_journal(file)


def open_journal(file: Path) -> Any:
    """A journal that survives a writer which was killed inside of a line.

    What it left is half a line. Optuna's own backend would write the next
    line behind it, and the whole study could not be read any more.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import (
        JournalFileBackend,
        JournalFileSymlinkLock,
    )

    lock = JournalFileSymlinkLock(str(file))

    class Backend(JournalFileBackend):
        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            if not is_whole(file):
                cut_off_half(file, lock)
            super().append_logs(logs)

    return JournalStorage(Backend(str(file), lock))


def cut_off_half(journal: Path, lock: Any) -> None:
    """Cut off the half of a line at the end."""
    lock.acquire()
    try:
        # Not if a writer that lives has finished it meanwhile.
        if not is_whole(journal):
            content = journal.read_bytes()
            os.truncate(journal, content.rfind(b'\n') + 1)
    finally:
        lock.release()


def is_whole(journal: Path) -> bool:
    """Whether the last line has an end."""
    with journal.open('rb') as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read() == b'\n'


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


def differences(old: Plan, new: Plan) -> list[str]:
    """What keeps the results of two plans from being compared, a line each."""
    lines = [
        f'{name}: then {then!r}, now {now!r}'
        for name, then, now in (
            ('start folder', old.folder, new.folder),
            ('prefix', old.sweep.prefix, new.sweep.prefix),
            ('metric', old.sweep.metric, new.sweep.metric),
        )
        if then != now
    ]
    if old.base != new.base:
        lines.append(first_difference(old.base, new.base))
    return lines


def first_difference(old: str, new: str) -> str:
    """The first key in which the texts of two configs differ."""
    then, now = (
        dict(dotted_items(read_config(text).to_dict())) for text in (old, new)
    )
    for key in [*then, *now]:
        before, after = (
            repr(part[key]) if key in part else 'not set'
            for part in (then, now)
        )
        if before != after and not are_parts(then.get(key), now.get(key)):
            return f'{key}: then {before}, now {after}'
    return 'the order of keys in the config'


def are_parts(old: Any, new: Any) -> bool:
    """Whether two values are of one kind and differ in what is inside."""
    kinds = dict | list | tuple
    alike = isinstance(old, kinds) and type(old) is type(new)
    return alike and bool(old) and bool(new)

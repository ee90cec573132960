"""The queue of a sweep's trials, on Optuna's storages.

A training run of one point with one seed is a *job*. Each attempt at a job is
a trial of Optuna's, whose state only ever goes from waiting over running to
finished, so that any number of workers on any machine can share the queue:
a storage lets one of them turn a waiting trial into a running one.
"""

import socket
import threading
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from .claim import Claim
from .plan import Job, Plan, differences
from .storage import open_storage, patient
from .summary import is_score
from .sweep_result import SweepResult
from .trials import (
    BEAT,
    DUPLICATE,
    LOST,
    is_locked,
    is_over,
    is_work,
    job_of,
    trial_result,
)

JOURNAL = 'study.log'
GRACE = 300.0
"""Seconds without a sign of life after which a trial counts as lost."""
UNSIGNED = 30.0
"""Seconds that a worker has, at most, to say that a trial is its own."""


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

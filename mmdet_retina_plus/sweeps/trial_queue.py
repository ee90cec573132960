"""The queue of a sweep's trials, on Optuna's storages.

A *job* is the training of one point with one seed. Each attempt at a job is an
Optuna trial, whose state only moves from waiting to running to finished. The
storage lets exactly one worker turn a waiting trial into a running one, so any
number of workers on any machine can share the queue.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from mmdet_retina_plus.common.numbers import is_finite

from .plan import Job, Plan, differences
from .spec import Point
from .storage import open_storage, patient
from .summary import SweepResult, is_meaningful
from .trials import (
    LOST,
    job_of,
    life,
    needs_retry,
    seconds_of_jobs,
    trial_result,
)

GRACE = 300.0
"""Seconds without a heartbeat after which a trial counts as lost."""


class SweepStudy:
    """The trials of a sweep in a storage.

    Args:
        storage: URL of a database as Optuna takes it, or path of a journal
            file.
        name: Name of the study.
        grace: Seconds without a heartbeat after which the trial of a worker on
            another machine counts as lost; also the longest wait for the
            storage.

    Attributes:
        stop: Event that ends every wait for the storage.

    Raises:
        ValueError: The storage cannot be reached.
        ImportError: The database's driver is missing.
    """

    def __init__(self, storage: str, name: str, grace: float = GRACE) -> None:
        self.storage = open_storage(storage)
        self.name = name
        self.grace = grace
        self.stop = threading.Event()

    def create(self, plan: Plan) -> bool:
        """Create the study, or reuse the one of this name.

        Points and seeds may change at any time. Config, prefix, metric and
        the start folder may not change once there are results, which would
        not compare.

        Returns:
            Whether one of the latter changed, so that failed trials should
            be retried.

        Raises:
            ValueError: The study has results of another config, prefix,
                metric or folder.
        """
        study = optuna.create_study(
            storage=self.storage,
            study_name=self.name,
            direction='maximize',
            load_if_exists=True,
        )
        old = study.user_attrs.get('plan')
        changed = old is not None and differences(Plan.load(old), plan)
        # Without results a mistake can still be corrected.
        if changed and self.has_results():
            raise ValueError(
                f'The study {self.name} has results, which would not be '
                'comparable: use its settings, or another --work-dir\n'
                + '\n'.join(f'  {line}' for line in changed)
            )
        if old != plan.dump():
            study.set_user_attr('plan', plan.dump())
        return bool(changed)

    def start(self, plan: Plan, retry_failed: bool = False) -> None:
        """Create or extend the study and queue the missing jobs.

        Args:
            plan: Plan of the sweep.
            retry_failed: Whether to queue failed trials again.

        Raises:
            ValueError: See `create`.
        """
        changed = self.create(plan)
        self.recover()
        self.fill(retry_failed or changed)

    def has_results(self) -> bool:
        """Whether a trial has a score, or a worker is about to report one."""
        metric = self.plan().sweep.metric
        return any(
            any(
                is_meaningful(value, metric)
                for value in trial.intermediate_values.values()
            )
            or (
                trial.state == TrialState.RUNNING
                and life(trial, self.grace) != 'gone'
            )
            for trial in self.trials()
        )

    def plan(self) -> Plan:
        """Plan of the latest `sweep run`.

        Raises:
            ValueError: There is no such study.
        """
        attributes = self.storage.get_study_user_attrs(self.study_id)
        if 'plan' not in attributes:
            raise ValueError(
                f'The study {self.name} is not a sweep of this package, or '
                'not set up yet: start it with `retina-plus sweep run`'
            )
        return Plan.load(attributes['plan'])

    def names(self) -> list[str]:
        """Names of all studies in the storage."""
        return [study.study_name for study in self.storage.get_all_studies()]

    @patient
    def is_current(self, plan: Plan) -> bool:
        """Whether results of a plan compare with those of the study."""
        return not differences(plan, self.plan())

    @cached_property
    def study_id(self) -> int:
        """Id of the study in the storage.

        Raises:
            ValueError: There is no such study.
        """
        try:
            return self.storage.get_study_id_from_name(self.name)
        except KeyError:
            raise ValueError(
                f'The storage has no study {self.name}: start it with '
                '`retina-plus sweep run`, or choose another'
            ) from None

    def trials(self, **which) -> list[FrozenTrial]:
        """All trials, or those in `states`; shared objects, not to change."""
        return self.storage.get_all_trials(
            self.study_id, deepcopy=False, **which
        )

    def trial_id(self, trial: FrozenTrial) -> int:
        """Id of a trial in the storage."""
        return self.storage.get_trial_id_from_study_id_trial_number(
            self.study_id, trial.number
        )

    def owners(self) -> dict[Job, FrozenTrial]:
        """Map each job to the trial that counts.

        It is the first trial of a job, or the trial queued instead when that
        was lost. If two workers queue the same job at once, the earlier trial
        counts and the other never runs.
        """
        owners: dict[Job, FrozenTrial] = {}
        for trial in sorted(self.trials(), key=lambda trial: trial.number):
            job = job_of(trial)
            owner = owners.get(job)
            if owner is None or owner.number == trial.user_attrs['instead_of']:
                owners[job] = trial
        return owners

    @patient
    def fill(self, retry_failed: bool = False) -> None:
        """Queue every job that has no trial, or whose trial was lost.

        Args:
            retry_failed: Whether to queue failed trials, too.
        """
        owners, plan = self.owners(), self.plan()
        ranges = parameter_ranges(plan.sweep.points)
        for job, point in plan.jobs.items():
            owner = owners.get(job)
            if owner is not None and not needs_retry(owner, retry_failed):
                continue
            numbers = numbers_of(point)
            trial = create_trial(
                state=TrialState.WAITING,
                params=numbers,
                distributions={key: ranges[key] for key in numbers},
                user_attrs=dict(
                    job=list(job),
                    instead_of=None if owner is None else owner.number,
                ),
            )
            self.storage.create_new_trial(self.study_id, trial)

    @patient
    def turn(
        self, trial: FrozenTrial, state: TrialState, value: float | None = None
    ) -> bool:
        """Change a trial's state; False if another worker was first."""
        values = None if value is None else [value]
        try:
            return self.storage.set_trial_state_values(
                self.trial_id(trial), state, values
            )
        except UpdateFinishedTrialError:
            return False

    @patient
    def note(self, trial: FrozenTrial, **attributes) -> bool:
        """Set attributes; False if the trial is finished."""
        trial_id = self.trial_id(trial)
        try:
            for name, value in attributes.items():
                self.storage.set_trial_user_attr(trial_id, name, value)
        except UpdateFinishedTrialError:
            return False
        return True

    @patient
    def report(self, trial: FrozenTrial, step: int, value: float) -> None:
        """Set the metric of a validation."""
        # If the trial is finished, the next `note` says so.
        with suppress(UpdateFinishedTrialError):
            self.storage.set_trial_intermediate_value(
                self.trial_id(trial), step, value
            )

    @patient
    def is_behind(self, trial: FrozenTrial) -> bool:
        """Whether Optuna's median pruner would end a running trial."""
        study = optuna.load_study(storage=self.storage, study_name=self.name)
        trial = self.storage.get_trial(self.trial_id(trial))
        return optuna.pruners.MedianPruner().prune(study, trial)

    def end(
        self,
        trial: FrozenTrial,
        state: TrialState,
        value: float | None = None,
        **attributes,
    ) -> bool:
        """Finish a trial; False if another worker did."""
        return self.note(trial, **attributes) and self.turn(
            trial, state, value
        )

    @patient
    def recover(self) -> bool:
        """Queue the trials of lost workers again.

        Returns:
            Whether a trial waits, or may soon because a worker is silent.
        """
        jobs = self.plan().jobs
        silent = False
        for job, trial in self.owners().items():
            if trial.state == TrialState.RUNNING and job in jobs:
                seen = life(trial, self.grace)
                silent |= seen == 'silent'
                if seen == 'gone':
                    self.end(trial, TrialState.FAIL, reason=LOST)
        # Includes jobs that another worker found lost but did not queue.
        self.fill()
        return silent or any(
            trial.state == TrialState.WAITING
            for job, trial in self.owners().items()
            if job in jobs
        )

    def result(self) -> SweepResult:
        """Result of the sweep so far."""
        plan = self.plan()
        jobs = plan.jobs
        seconds = seconds_of_jobs(self.trials())
        return SweepResult(
            **vars(plan.sweep),
            by_epoch=plan.by_epoch,
            trials=[
                trial_result(trial, jobs[job], seconds.get(job))
                for job, trial in self.owners().items()
                if job in jobs
            ],
        )


def numbers_of(point: Point) -> dict[str, float]:
    """Values of a point that Optuna can hold as float parameters."""
    return {key: float(x) for key, x in point.items() if is_finite(x)}


def parameter_ranges(points: Sequence[Point]) -> dict[str, BaseDistribution]:
    """Optuna's distribution of each key that has numbers.

    It spans the numbers of all points; nothing is drawn from it.
    """
    numbers = pd.DataFrame(map(numbers_of, points))
    return {
        key: FloatDistribution(x.min(), x.max()) for key, x in numbers.items()
    }

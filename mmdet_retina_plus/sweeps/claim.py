"""Claim a trial from the queue and report on it."""

import os
import socket
import time
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from .plan import Plan
from .storage import patient
from .trial_queue import SweepStudy
from .trials import DUPLICATE, FAILED, LOST, job_of


class Claim:
    """A claimed trial, on which its worker reports.

    Args:
        study: Study of the trial.
        trial: Trial in the storage.
        plan: Plan of the study at the time of the claim.

    Attributes:
        point: Changes of the config.
        seed: Seed of the training run.
    """

    def __init__(
        self, study: SweepStudy, trial: FrozenTrial, plan: Plan
    ) -> None:
        self.study = study
        self.trial = trial
        self.plan = plan
        self.point = plan.jobs[job_of(trial)]
        _, self.seed = job_of(trial)

    def sign(self, lock: Path, folder: Path) -> bool:
        """Record worker and folder; False if the trial is finished."""
        worker = dict(
            host=socket.gethostname(), pid=os.getpid(), lock=str(lock)
        )
        return self.study.note(self.trial, worker=worker, folder=str(folder))

    def seen(self) -> bool:
        """Send a heartbeat; False if the trial is finished."""
        return self.study.note(self.trial, seen=time.time())

    def report(self, step: int, value: float) -> None:
        """Record the metric of a validation."""
        self.study.report(self.trial, step, value)

    def is_behind(self) -> bool:
        """Whether its best metric is below the median at the same step."""
        return self.study.is_behind(self.trial)

    def complete(self, value: float) -> bool:
        # `sweep run` may have corrected the config meanwhile.
        if not self.study.is_current(self.plan):
            self.give_back()
            return False
        return self.study.end(self.trial, TrialState.COMPLETE, value)

    def prune(self) -> bool:
        return self.study.end(self.trial, TrialState.PRUNED)

    def fail(self, error: str) -> bool:
        return self.study.end(
            self.trial, TrialState.FAIL, reason=FAILED, error=error
        )

    def give_back(self) -> None:
        """Queue the job again, for this worker or another."""
        if self.study.end(self.trial, TrialState.FAIL, reason=LOST):
            self.study.fill()


@patient
def claim_trial(study: SweepStudy) -> Claim | None:
    """Claim a waiting trial of the plan; None if there is none."""
    plan = study.plan()
    jobs = plan.jobs
    for trial in study.trials(states=(TrialState.WAITING,)):
        if job_of(trial) not in jobs:
            continue
        if not study.turn(trial, TrialState.RUNNING):
            continue
        if study.owners()[job_of(trial)].number == trial.number:
            study.note(trial, seen=time.time())
            return Claim(study, trial, plan)
        study.end(trial, TrialState.FAIL, reason=DUPLICATE)
    return None

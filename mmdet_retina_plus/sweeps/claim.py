"""A running trial that is ours."""

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .plan import Plan
from .trials import FAILED, LOST, job_of

if TYPE_CHECKING:
    from .trial_queue import SweepStudy


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

    def __init__(self, study: 'SweepStudy', trial: Any, plan: Plan) -> None:
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

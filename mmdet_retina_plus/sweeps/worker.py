"""Claim the trials of a study one after the other and train them."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path

from .claim import Claim, claim_trial
from .point_labels import label_points
from .slots import Slot
from .storage import StorageError
from .summary import is_meaningful
from .training import Training
from .trial_config import parse_config, write_config
from .trial_folder import (
    Progress,
    find_checkpoint,
    folder_name,
    locked,
    read_progress,
)
from .trial_queue import SweepStudy
from .trials import BEAT
from .units import metric_unit

POLL = 1.0
"""Seconds between two checks of a run."""


@dataclass(frozen=True)
class Event:
    """Message of a worker about one of its runs.

    Attributes:
        slot: Index of the slot that the trial runs in.
        name: Name of the trial.
        kind: `start`, `progress`, `complete`, `pruned`, `failed`, `returned`
            to the queue, or `taken` over by another worker.
        progress: Progress of the run.
        text: Final value, or the error.
        seconds: Seconds since the start.
        waited: Seconds since the last step was seen.
        before: Steps done before the start.
    """

    slot: int
    name: str
    kind: str
    progress: Progress = field(default_factory=Progress)
    text: str = ''
    seconds: float = 0.0
    waited: float = 0.0
    before: int = 0


@dataclass
class Worker:
    """Run trials of a study until none is left or it is told to stop.

    Attributes:
        study: Queue of the trials; its `stop` ends the run and returns the
            trial to the queue.
        work_dir: Parent of the trials' folders.
        slot: Share of the machine for a training run.
        tell: Called with every event, in the worker's thread.
    """

    study: SweepStudy
    work_dir: Path
    slot: Slot
    tell: Callable[[Event], None]

    def run(self) -> None:
        while not self.study.stop.is_set():
            claim = claim_trial(self.study)
            if claim is not None:
                self.work(claim)
            elif not self.study.recover():
                return
            else:
                self.study.stop.wait(POLL)

    def work(self, claim: Claim) -> None:
        """Train one trial and record its result."""
        points = claim.plan.sweep.points
        name = label_points(points)[points.index(claim.point)]
        event = Event(self.slot.number, f'{name}, seed {claim.seed}', 'start')
        study = f'{self.study.name}\n{claim.plan.identity_of(claim.point)}'
        folder = self.work_dir / folder_name(study, claim.point, claim.seed)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / 'lock') as lock:
                if claim.sign(folder / 'lock', folder):
                    event = self.train(claim, folder, lock, event)
                else:
                    event = replace(event, kind='taken')
        except StorageError:
            raise
        except Exception as error:  # A trial must not end the others.
            text = f'{type(error).__name__}: {error}'
            claim.fail(text)
            event = replace(event, kind='failed', text=text)
        self.tell(event)

    def train(
        self, claim: Claim, folder: Path, lock: int, event: Event
    ) -> Event:
        """Run a trial until it ends or must end, and record the outcome."""
        changes = claim.plan.sweep.changes(claim.point)
        base = claim.plan.base_of(claim.point)
        config = write_config(base, changes, claim.seed, folder)
        watch = Watch(claim, folder, config)
        before = watch.look()
        resume = find_checkpoint(folder, before, watch.cfg)
        event = replace(event, before=before.step if resume else 0)
        self.tell(replace(event, progress=before))
        began = moved = time.monotonic()
        training = Training(config, folder, self.slot, lock, resume)
        try:
            verdict = ''
            while not verdict:
                ended = training.has_ended(POLL)
                progress, now = watch.look(), time.monotonic()
                if progress.step != event.progress.step:
                    moved = now
                event = replace(
                    event,
                    kind='progress',
                    progress=progress,
                    seconds=now - began,
                    waited=now - moved,
                )
                self.tell(event)
                if ended:
                    verdict = 'ended'
                elif self.study.stop.is_set():
                    verdict = 'returned'
                else:
                    verdict = watch.verdict()
        finally:
            training.stop()
        if verdict == 'ended':
            return conclude(claim, training, event)
        if verdict == 'returned':
            claim.give_back()
        elif verdict == 'pruned':
            claim.prune()
        return replace(event, kind=verdict)


def conclude(claim: Claim, training: Training, event: Event) -> Event:
    """Record the outcome of a run that ended by itself."""
    progress, sweep = event.progress, claim.plan.sweep
    value = None
    if progress.curve:
        value = progress.curve[max(progress.curve)]
    error = ''
    if training.process.returncode:
        error = training.error()
    elif value is None:
        error = (
            f'No validation logged {sweep.metric}, but '
            f'{", ".join(progress.others)}: set `metric` of the sweep to one '
            'of these'
            if progress.others
            else 'It ended without a validation: set train_cfg.val_interval'
        )
    elif not is_meaningful(value, sweep.metric):
        error = f'{sweep.metric} is {value:g}, which is not a score'
        if value == -1:
            error += (
                ', since no object of the validation set has that size: set '
                '`metric` of the sweep to another'
            )
    if error or value is None:
        claim.fail(error)
        return replace(event, kind='failed', text=error)
    if not claim.complete(value):
        return replace(event, kind='taken')
    text = metric_unit(sweep.metric).name(value)
    return replace(event, kind='complete', text=text)


class Watch:
    """Follows the log of a run and reports it to the study.

    Args:
        claim: Claimed trial.
        folder: Work dir of the trial.
        config: Config file of the trial.
    """

    def __init__(self, claim: Claim, folder: Path, config: Path) -> None:
        self.claim = claim
        self.folder = folder
        self.cfg = parse_config(config.read_text())
        self.reported: dict[int, float] = {}
        self.beat = time.monotonic()
        self.ours = True
        self.behind = False

    def look(self) -> Progress:
        """Progress of the run; reports validations and heartbeats."""
        plan = self.claim.plan
        progress = read_progress(self.folder, self.cfg, plan.sweep.metric)
        for step, value in sorted(progress.curve.items()):
            # A resumed run may validate a step once more.
            if self.reported.get(step) == value:
                continue
            self.claim.report(step, value)
            self.reported[step] = value
            # After the last validation there is no time to save.
            if plan.prune and step < progress.steps:
                self.behind = self.claim.is_behind()
        if time.monotonic() - self.beat > BEAT:
            self.ours = self.claim.seen()
            self.beat = time.monotonic()
        return progress

    def verdict(self) -> str:
        """Reason to end the run now; '' to continue."""
        if not self.ours:
            return 'taken'
        return 'pruned' if self.behind else ''


def work_all(workers: Sequence[Worker]) -> None:
    """Run workers side by side until all are done.

    KeyboardInterrupt, which callers may raise on SIGTERM, ends the runs,
    returns the trials to the queue and is raised again.

    Raises:
        Exception: The error that ended a worker, such as a lost storage.
    """
    with ThreadPoolExecutor(len(workers)) as pool:
        try:
            futures = [pool.submit(worker.run) for worker in workers]
            # Not Thread.join, which treats an interrupted thread as ended.
            wait(futures)
        except KeyboardInterrupt:
            for worker in workers:
                worker.study.stop.set()
            raise
    for future in futures:
        future.result()

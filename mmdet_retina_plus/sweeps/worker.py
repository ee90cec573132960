"""A worker: takes trials from a study, one after the other, and trains."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .points import label_points
from .study import Claim, Plan, SweepStudy
from .training import (
    Progress,
    Slot,
    Training,
    folder_name,
    locked,
    read_progress,
    write_config,
)

POLL = 1.0
"""Seconds between two looks at a run."""
BEAT = 20.0
"""Seconds between two signs of life."""


@dataclass
class Event:
    """What a worker has to tell.

    Attributes:
        slot: That the trial has.
        name: Of the trial.
        kind: `start`, `progress`, `complete`, `pruned`, `failed`, `returned`
            or `taken`, where another worker thought this one lost.
        progress: How far the run is.
        text: The value at the end, or the error.
        seconds: Since the start.
    """

    slot: int
    name: str
    kind: str
    progress: Progress = field(default_factory=lambda: Progress(0, 0, {}))
    text: str = ''
    seconds: float = 0.0


Listener = Callable[[Event], None]


@dataclass
class Worker:
    """Works on a study until no trial waits or it is told to stop.

    Attributes:
        study: Queue of the trials.
        plan: Of the study.
        work_dir: Folders of the trials are made here.
        slot: What a training run may use.
        stop: Set it, and the run ends and goes back to the queue.
        tell: Called with every event, in the worker's thread.
    """

    study: SweepStudy
    plan: Plan
    work_dir: Path
    slot: Slot
    stop: threading.Event
    tell: Listener

    def run(self) -> None:
        while not self.stop.is_set():
            claim = self.study.claim()
            if claim is not None:
                self.work(claim)
            elif not self.study.recover():
                return

    def work(self, claim: Claim) -> None:
        """Train one trial and record what it came to."""
        folder = self.work_dir / folder_name(claim.point, claim.seed)
        points = self.plan.sweep.points
        name = label_points(points)[points.index(claim.point)]
        name += f', seed {claim.seed}'
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / 'lock') as lock:
                claim.sign(folder / 'lock', folder)
                self.train(claim, folder, name, lock)
        except Exception as error:  # A trial must not end the others.
            text = f'{type(error).__name__}: {error}'
            claim.fail(text)
            self.tell(Event(self.slot.number, name, 'failed', text=text))

    def train(self, claim: Claim, folder: Path, name: str, lock: int) -> None:
        from mmengine.config import Config

        changes = self.plan.sweep.changes(claim.point)
        config = write_config(self.plan.base, changes, claim.seed, folder)
        watch = Watch(claim, folder, Config.fromfile(config), self.plan)
        event = Event(self.slot.number, name, 'start')
        self.tell(event)
        began = time.monotonic()
        training = Training(config, folder, self.slot, lock)
        try:
            verdict = ''
            while not verdict:
                ended = training.has_ended(POLL)
                progress = watch.look()
                event = Event(self.slot.number, name, 'progress', progress)
                event.seconds = time.monotonic() - began
                self.tell(event)
                if ended:
                    verdict = 'ended'
                elif self.stop.is_set():
                    verdict = 'returned'
                else:
                    verdict = watch.verdict()
        finally:
            training.stop()
        if verdict == 'ended':
            verdict, event.text = conclude(claim, training, event.progress)
        elif verdict == 'returned':
            claim.give_back()
        elif verdict == 'pruned':
            claim.prune()
        event.kind = verdict
        self.tell(event)


def conclude(
    claim: Claim, training: Training, progress: Progress
) -> tuple[str, str]:
    """Record a run that ended by itself: what became of it, and a word."""
    if training.process.returncode:
        error = training.error()
        claim.fail(error)
        return 'failed', error
    if not progress.curve:
        error = 'It ended without a validation: set train_cfg.val_interval'
        claim.fail(error)
        return 'failed', error
    value = list(progress.curve.values())[-1]
    if not claim.complete(value):
        return 'taken', ''
    return 'complete', f'{value:.3f}'


class Watch:
    """Follows the log of a run and passes it on to the study."""

    def __init__(
        self, claim: Claim, folder: Path, cfg: Any, plan: Plan
    ) -> None:
        self.claim = claim
        self.folder = folder
        self.cfg = cfg
        self.plan = plan
        self.reported: set[int] = set()
        self.beat = 0.0
        self.ours = True
        self.behind = False

    def look(self) -> Progress:
        """How far the run is; tells the study of validations and of life."""
        metric = self.plan.sweep.metric
        progress = read_progress(self.folder, self.cfg, metric)
        for step in sorted(set(progress.curve) - self.reported):
            self.claim.report(step, progress.curve[step])
            self.reported.add(step)
            # After the last validation nothing is left to be saved.
            if self.plan.prune and step < progress.steps:
                self.behind = self.claim.is_behind()
        if time.monotonic() - self.beat > BEAT:
            self.ours = self.claim.seen(progress.step, progress.steps)
            self.beat = time.monotonic()
        return progress

    def verdict(self) -> str:
        """Why the run should end now, '' if it should not."""
        if not self.ours:
            return 'taken'
        return 'pruned' if self.behind else ''


def make_slots(jobs: int, nproc: int, gpus: Sequence[str]) -> list[Slot]:
    """Shares of a machine for so many runs at a time.

    Args:
        jobs: Runs at a time.
        nproc: Processes of each, one GPU each.
        gpus: Names of the GPUs, empty on a machine without.

    Raises:
        ValueError: The GPUs do not suffice for `nproc`.
    """
    cores = len(os.sched_getaffinity(0))
    threads = max(1, cores // (jobs * nproc))
    if not gpus:
        if nproc > 1:
            raise ValueError(
                '--nproc needs a GPU for each process, mmengine starts no '
                'other groups, and torch sees none here'
            )
        return [Slot(number, None, threads) for number in range(jobs)]
    if nproc > 1 and jobs * nproc > len(gpus):
        raise ValueError(
            f'{jobs} runs of {nproc} processes need {jobs * nproc} GPUs, '
            f'there are {len(gpus)}: lower --jobs or --nproc'
        )
    return [
        Slot(
            number,
            # Single processes may share one, where there are more of them.
            ','.join(
                gpus[(number * nproc + process) % len(gpus)]
                for process in range(nproc)
            ),
            threads,
            nproc,
        )
        for number in range(jobs)
    ]


def visible_gpus() -> list[str]:
    """Names of the GPUs that torch sees, as CUDA_VISIBLE_DEVICES has them."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',')
    names = [name for name in named if name]
    return names[:count] if names else [str(i) for i in range(count)]


def work_all(workers: Sequence[Worker], stop: threading.Event) -> None:
    """Run workers side by side until all are done.

    Ctrl-C, or SIGTERM where the caller turned it into KeyboardInterrupt, ends
    their runs, gives the trials back to the queue and is raised again.

    Raises:
        Exception: What ended a worker, such as a storage that is gone.
    """
    with ThreadPoolExecutor(len(workers)) as pool:
        futures = [pool.submit(worker.run) for worker in workers]
        try:
            # Not Thread.join: interrupted, it takes a thread for ended.
            wait(futures)
        except KeyboardInterrupt:
            stop.set()
            raise
    for future in futures:
        future.result()

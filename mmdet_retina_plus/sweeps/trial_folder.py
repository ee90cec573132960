"""The folder of a trial: its name, lock, log and checkpoints."""

import fcntl
import hashlib
import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import is_zipfile

from mmdet_retina_plus.common.scalar_log import read_records

from . import training
from .point_labels import full_label, identity
from .spec import Point
from .trial_config import counts_epochs, total_steps

TIMES = {'data_time', 'time', 'step', 'memory'}
"""Keys that a validation logs beside its metrics."""


@dataclass(frozen=True)
class Progress:
    """Progress of a run.

    Attributes:
        step: Last logged step.
        steps: Steps of the whole run; 0 if unknown.
        curve: Step, or epoch where the run counts epochs, to metric.
        others: Names that were logged instead of the metric.
    """

    step: int = 0
    steps: int = 0
    curve: Mapping[int, float] = field(default_factory=dict)
    others: Collection[str] = ()


def folder_name(study: str, point: Point, seed: int) -> str:
    """Path below the work dir: `gamma-2.0_alpha-0.25_1f09c3/seed-0`.

    It does not depend on other points. The digest is that of the point, whose
    text may be cut off, and of the study, so that no run resumes from another
    run's checkpoints.

    Args:
        study: Text that distinguishes the study from others.
        point: Point of the trial.
        seed: Seed of the trial.
    """
    text = re.sub(r'[^\w.+-]+', '-', full_label(point).replace(', ', '_'))
    whole = study + identity(point)
    digest = hashlib.sha256(whole.encode()).hexdigest()[:6]
    return f'{text.strip("-_")[:60]}_{digest}/seed-{seed}'


@contextmanager
def locked(file: Path) -> Iterator[int]:
    """Hold a lock, which the kernel releases when its last holder ends.

    Waits up to `training.PATIENCE` seconds for another holder to end.

    Args:
        file: Lock file, created if it is missing.

    Raises:
        ValueError: Another process holds the lock.
    """
    with file.open('a') as lock:
        deadline = time.monotonic() + training.PATIENCE
        while not try_lock(lock.fileno()):
            if time.monotonic() > deadline:
                raise ValueError(
                    f'Another process trains in {file.parent}: name another '
                    '--work-dir'
                )
            time.sleep(0.1)
        yield lock.fileno()


def try_lock(file: int) -> bool:
    """Lock an open file; False if another process holds the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(lock: Path) -> bool:
    """Whether a process holds the lock of a trial."""
    # NFS only locks files that are open for writing.
    with lock.open('a') as file:
        return not try_lock(file.fileno())


def read_progress(folder: Path, cfg: Mapping, metric: str) -> Progress:
    """Progress that a run has logged so far, over all its resumptions.

    Args:
        folder: Work dir.
        cfg: Config that `write_config` wrote.
        metric: Name of the metric in the log.
    """
    files = sorted(folder.glob('*/vis_data/scalars.json'))
    records = [record for file in files for record in read_records(file)]
    step = 0
    curve = {}
    others: set[str] = set()
    for record in records:
        if 'loss' in record:
            # Without an epoch in the log, validations show the progress.
            epochs = record.get('epoch', 1) - 1
            step = epochs if counts_epochs(cfg) else record['step']
        elif metric in record:
            curve[record['step']] = record[metric]
        elif set(record) <= TIMES and 'time' in record:
            # mmdet logs no metric if no box passes the score threshold.
            curve[record['step']] = 0.0
        else:
            others |= set(record) - TIMES
    return Progress(
        max(step, *curve, 0), total_steps(cfg), curve, sorted(others)
    )


def find_checkpoint(
    folder: Path, progress: Progress, cfg: Mapping
) -> Path | None:
    """The checkpoint that an interrupted run resumes from.

    mmengine saves before it validates, and a run that resumes at its last step
    validates again only with ExactResumeHook. Without the hook, the last
    checkpoint is skipped unless its validation is logged. Truncated files are
    skipped. None means the beginning.

    Args:
        folder: Work dir.
        progress: Progress of the run.
        cfg: Config that `write_config` wrote.
    """
    by_epoch = counts_epochs(cfg)
    validates = any(
        hook['type'] == 'ExactResumeHook'
        for hook in cfg.get('custom_hooks') or []
    )
    unit = 'epoch' if by_epoch else 'iter'
    checkpoints = {
        int(number[1]): path
        for path in folder.glob('*.pth')
        if (number := re.fullmatch(rf'{unit}_(\d+)', path.stem))
        and is_zipfile(path)
    }
    if progress.steps not in progress.curve and not validates:
        checkpoints.pop(progress.steps, None)
    return checkpoints[max(checkpoints)] if checkpoints else None

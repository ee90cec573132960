"""One training run of a sweep, as `mim train` does it, in its own process."""

import fcntl
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from mmdet_retina_plus.common.scalar_log import read_records

from .point_labels import full_label, identity
from .spec import Point

OURS = 'mmdet_retina_plus'
TIMES = {'data_time', 'time', 'step', 'memory'}
"""What a validation logs beside its metrics."""
PARSING = threading.Lock()
CHILD = Path(__file__).with_name('child.py')
ERROR_LINES = 3
"""Last lines of a failed run that are recorded, its exception beside them."""
TRACEBACK = 'Traceback (most recent call last)'
LOGGED = re.compile(r'\d\d/\d\d \d\d:\d\d:\d\d - ')
"""How mmengine's lines begin."""
TORCHRUN_FAILED = 'torch.distributed.elastic.multiprocessing.errors.'
PATIENCE = 20.0
"""Seconds that a run has to end by itself when it is asked to."""


@dataclass(frozen=True)
class Slot:
    """The share of a machine that a training run gets.

    Attributes:
        number: Of the slot, from 0.
        gpus: As CUDA_VISIBLE_DEVICES wants them; None leaves the variable as
            it is.
        threads: Of OpenMP for each process; None leaves that to torch.
        nproc: Processes of a run.
    """

    number: int = 0
    gpus: str | None = None
    threads: int | None = None
    nproc: int = 1

    def environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        if self.gpus is not None:
            environment['CUDA_VISIBLE_DEVICES'] = self.gpus
        if self.threads is not None:
            environment.setdefault('OMP_NUM_THREADS', str(self.threads))
        return environment


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        step: Last one that was logged.
        steps: Of the whole run; 0 if the config does not say.
        curve: Step, or epoch where the run counts epochs, to metric.
        others: What validations logged that have no such metric.
    """

    step: int = 0
    steps: int = 0
    curve: Mapping[int, float] = field(default_factory=dict)
    others: Collection[str] = ()


class Training:
    """A process that trains, from its start to its end.

    Args:
        config: Of the trial.
        folder: Work dir.
        slot: What it may use.
        lock: Open lock file of the trial, which the process holds, too.
        resume: Checkpoint to go on from.
    """

    def __init__(
        self,
        config: Path,
        folder: Path,
        slot: Slot,
        lock: int,
        resume: Path | None = None,
    ) -> None:
        self.log = folder / 'output.log'
        reading, self.pipe = os.pipe()
        command = train_command(config, folder, slot.nproc, resume)
        with self.log.open('a') as output:
            self.start = output.tell()
            self.process = subprocess.Popen(
                [sys.executable, str(CHILD), str(reading), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=slot.environment(),
                pass_fds=(reading, lock),
                start_new_session=True,
            )
        os.close(reading)

    def has_ended(self, seconds: float) -> bool:
        """Wait for the end, so many seconds at most."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """End the process and all that it started, and free the pipe."""
        if not self.has_ended(0):
            self.signal(signal.SIGTERM)
            self.has_ended(PATIENCE)
        # Now it ends itself and its children, if it has not yet.
        os.close(self.pipe)
        if not self.has_ended(PATIENCE):
            self.signal(signal.SIGKILL)
            self.process.wait()
        # Of its group something may be left, such as loaders of data.
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def error(self) -> str:
        """Last lines of its output."""
        with self.log.open(errors='replace') as output:
            output.seek(self.start)
            lines = last_words(output)
        code = f'Exit code {self.process.returncode}, see {self.log}'
        return '\n'.join([code, *lines])


def last_words(output: Iterable[str]) -> list[str]:
    """The exception of the last traceback, then the end of the log.

    Frames are left out. What stands before a traceback is often more than its
    last line: mmdet stops at a loss that is not finite by an assertion without
    a text. Where an exception has many lines, its first says what it is. And
    what torchrun says when its processes failed says nothing about them.
    """
    lines: deque[str] = deque(maxlen=ERROR_LINES)
    raised: list[str] = []
    follows_frames = is_ignored = False
    for prefixed in output:
        line = re.sub(r'^\[rank\d+\]: ', '', prefixed)
        if TORCHRUN_FAILED in line:
            break
        if line.startswith(TRACEBACK):
            follows_frames = not is_ignored
        elif line.strip() and not line.startswith(' '):
            lines.append(line.strip())
            if follows_frames:
                raised = [line.strip()]
            elif LOGGED.match(line):
                raised = []  # It was caught.
            follows_frames = False
        is_ignored = line.startswith('Exception ignored')
    return [*(line for line in raised if line not in lines), *lines]


@contextmanager
def locked(file: Path) -> Iterator[int]:
    """Hold a lock, which the kernel frees when its last holder ends.

    Raises:
        ValueError: Somebody else holds it, and not just to end.
    """
    with file.open('a') as lock:
        deadline = time.monotonic() + PATIENCE
        while not try_lock(lock.fileno()):
            if time.monotonic() > deadline:
                raise ValueError(
                    f'Another process trains in {file.parent}: name another '
                    '--work-dir'
                )
            time.sleep(0.1)
        yield lock.fileno()


def try_lock(file: int) -> bool:
    """Take the lock of an open file, if nobody holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def train_command(
    config: Path, folder: Path, nproc: int, resume: Path | None = None
) -> list[str]:
    """What runs `mmdet`'s train script, with a launcher where it takes one."""
    script = [str(train_script()), str(config), '--work-dir', str(folder)]
    if resume is not None:
        script += ['--resume', str(resume)]
    if nproc == 1:
        return script
    # --standalone takes a free port by itself.
    launcher = ['-m', 'torch.distributed.run', '--standalone']
    return [
        *(*launcher, f'--nproc-per-node={nproc}'),
        *(*script, '--launcher', 'pytorch'),
    ]


def find_checkpoint(
    folder: Path, progress: Progress, by_epoch: bool = False
) -> Path | None:
    """The checkpoint that an interrupted run goes on from.

    mmengine saves one before it validates, and a run that resumes at its last
    step validates no more: unless that was done, an earlier one has to do. One
    that a kill cut short is left out, and None is the beginning.
    """
    unit = 'epoch' if by_epoch else 'iter'
    checkpoints = {
        int(number[1]): path
        for path in folder.glob('*.pth')
        if (number := re.fullmatch(rf'{unit}_(\d+)', path.stem))
        and is_zipfile(path)
    }
    if progress.steps not in progress.curve:
        checkpoints.pop(progress.steps, None)
    return checkpoints[max(checkpoints)] if checkpoints else None


def train_script() -> Path:
    """The train script of the installed mmdet.

    Raises:
        ValueError: It is in none of the places where mim looks.
    """
    import mmdet

    package = Path(mmdet.__file__).parent
    places = [
        package / '.mim/tools/train.py',
        package / 'tools/train.py',
        package.parent / 'tools/train.py',
    ]
    for place in places:
        if place.is_file():
            return place
    raise ValueError(
        f'mmdet in {package} has no tools/train.py: install it by '
        '`pip install mmdet`, or run from a whole checkout'
    )


def write_config(
    base: str, changes: Mapping[str, Any], seed: int, folder: Path
) -> Path:
    """The config of a trial as a file that `mim train mmdet` takes.

    Two settings are ours: validations are logged by what the run counts, and
    the package is imported, without which torch refuses mmengine's
    checkpoints.

    Args:
        base: Text of the whole config that the changes apply to.
        changes: Dotted key to value.
        seed: Of the run.
        folder: Work dir.
    """
    cfg = read_config(base)
    cfg.merge_from_dict({**changes, 'randomness.seed': seed})
    logger = (cfg.get('default_hooks') or {}).get('logger')
    logger = logger or dict(type='LoggerHook')
    logger['log_metric_by_epoch'] = counts_epochs(cfg)
    cfg.default_hooks = {**(cfg.get('default_hooks') or {}), 'logger': logger}
    imports = (cfg.get('custom_imports') or {}).get('imports', [])
    imports = [imports] if isinstance(imports, str) else list(imports)
    if OURS not in imports:
        custom = cfg.get('custom_imports') or {}
        cfg.custom_imports = {**custom, 'imports': [*imports, OURS]}
    path = folder / 'trial.py'
    with PARSING:  # It formats what it writes.
        cfg.dump(path)
    return path


def read_config(text: str) -> Any:
    """A config from its text, in one thread at a time.

    Python 3.11's parser, now and then, fails where two threads are in it
    (SystemError: AST constructor recursion depth mismatch).
    """
    from mmengine.config import Config

    with PARSING:
        return Config.fromstring(text, '.py')


def total_steps(cfg: Mapping) -> int:
    """Steps of a run that counts steps, epochs of one that counts epochs."""
    loop = cfg.get('train_cfg') or {}
    return loop.get('max_iters') or loop.get('max_epochs') or 0


def counts_epochs(cfg: Mapping) -> bool:
    loop = cfg.get('train_cfg') or {}
    return 'Iter' not in str(loop.get('type')) and not loop.get('max_iters')


def read_progress(folder: Path, cfg: Mapping, metric: str) -> Progress:
    """What the run in a folder has logged so far, over all its resumptions.

    Args:
        folder: Work dir.
        cfg: That `write_config` wrote.
        metric: Name in the log.
    """
    files = sorted(folder.glob('*/vis_data/scalars.json'))
    records = [record for file in files for record in read_records(file)]
    step = 0
    curve = {}
    others: set[str] = set()
    for record in records:
        if 'loss' in record:
            # Without an epoch in the log validations tell how far it is.
            epochs = record.get('epoch', 1) - 1
            step = epochs if counts_epochs(cfg) else record['step']
        elif metric in record:
            curve[record['step']] = record[metric]
        elif set(record) <= TIMES and 'time' in record:
            # mmdet has no metric where no box passes the score threshold.
            curve[record['step']] = 0.0
        else:
            others |= set(record) - TIMES
    return Progress(
        max(step, *curve, 0), total_steps(cfg), curve, sorted(others)
    )


def folder_name(study: str, point: Point, seed: int) -> str:
    """Of a trial below the work dir: `gamma-2.0_alpha-0.25_1f09c3/seed-0`.

    It stays when other points come before. The digits are those of the point,
    whose text may be cut off, and of the study, all that tells it from others,
    so that no run resumes from what another left.
    """
    text = re.sub(r'[^\w.+-]+', '-', full_label(point).replace(', ', '_'))
    whole = study + identity(point)
    digest = hashlib.sha256(whole.encode()).hexdigest()[:6]
    return f'{text.strip("-_")[:60]}_{digest}/seed-{seed}'

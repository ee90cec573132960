"""One training run of a sweep in its own process, like `mim train`."""

import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from shutil import disk_usage

from .slots import Slot

END_WITH_PARENT = Path(__file__).with_name('end_with_parent.py')
ERROR_LINES = 3
"""Number of last lines to record of a failed run, besides its exception."""
TRACEBACK = 'Traceback (most recent call last)'
LOGGED = re.compile(r'\d\d/\d\d \d\d:\d\d:\d\d - ')
"""Start of mmengine's log lines."""
TORCHRUN_FAILED = 'torch.distributed.elastic.multiprocessing.errors.'
LITTLE = 2**20
"""Free bytes below which a disk counts as full."""
PATIENCE = 20.0
"""Seconds to wait for the end of a run after SIGTERM."""


class Training:
    """A process that trains, from its start to its end.

    Args:
        config: Config file of the trial.
        folder: Work dir.
        slot: Share of the machine.
        lock: Descriptor of the trial's lock, which the process inherits.
        resume: Checkpoint to resume from.
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
                [sys.executable, str(END_WITH_PARENT), str(reading), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=slot.environment(),
                pass_fds=(reading, lock),
                start_new_session=True,
            )
        os.close(reading)

    def has_ended(self, seconds: float) -> bool:
        """Wait for the end, at most this many seconds."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """End the process and its children, and close the pipe."""
        if not self.has_ended(0):
            self.signal(signal.SIGTERM)
            self.has_ended(PATIENCE)
        # When the pipe closes, the process ends itself and its children.
        os.close(self.pipe)
        if not self.has_ended(PATIENCE):
            self.signal(signal.SIGKILL)
            self.process.wait()
        # Its group may have survivors, such as data loaders.
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def error(self) -> str:
        """Last lines of its output."""
        with self.log.open(errors='replace') as output:
            output.seek(self.start)
            lines = last_words(output)
        if not lines and disk_usage(self.log.parent).free < LITTLE:
            lines = [f'No space left for its output: {self.log.parent}']
        code = f'Exit code {self.process.returncode}, see {self.log}'
        return '\n'.join([code, *lines])


def last_words(output: Iterable[str]) -> list[str]:
    """Extract the exception of the last traceback and the end of the log.

    Frames are skipped. The lines before a traceback are often more helpful
    than its last line: mmdet stops at a non-finite loss with an assertion
    without text. Only the first line of an exception is used. Torchrun's
    report on failed processes is ignored.
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


def train_command(
    config: Path, folder: Path, nproc: int, resume: Path | None = None
) -> list[str]:
    """Arguments that run mmdet's train script, with torchrun if needed."""
    script = [str(train_script()), str(config), '--work-dir', str(folder)]
    if resume is not None:
        script += ['--resume', str(resume)]
    if nproc == 1:
        return script
    # --standalone chooses a free port.
    launcher = ['-m', 'torch.distributed.run', '--standalone']
    launcher.append(f'--nproc-per-node={nproc}')
    return [*launcher, *script, '--launcher', 'pytorch']


def train_script() -> Path:
    """The train script of the installed mmdet.

    Raises:
        ValueError: The script is in none of the places where mim looks.
    """
    import mmdet

    package = Path(mmdet.__file__).parent
    for place in (package / '.mim', package, package.parent):
        script = place / 'tools/train.py'
        if script.is_file():
            return script
    raise ValueError(
        f'mmdet in {package} has no tools/train.py: install it by '
        '`pip install mmdet`, or run from a whole checkout'
    )

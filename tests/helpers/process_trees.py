"""Programs whose descendants are to end with them."""

import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil


def start_tree(
    command: Sequence[str | Path], last: str
) -> tuple[psutil.Popen, list[psutil.Process]]:
    """Start a program and wait for a descendant of this name.

    Returns:
        The program, its error output in a pipe, and all descendants.
    """
    program = psutil.Popen(
        list(map(str, command)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts pytest in the background ignores SIGINT.
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(psutil.NoSuchProcess):
            descendants = program.children(recursive=True)
            if last in [process.name() for process in descendants]:
                return program, descendants
        time.sleep(0.05)
    program.kill()
    raise AssertionError(f'{last} does not start')


def check_that_all_end(processes: Sequence[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=60)
    for process in alive:
        process.kill()
    assert not alive

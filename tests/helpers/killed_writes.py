"""Processes that are killed where they write files."""

import multiprocessing
import os
import signal
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

CALLS = ('fsync', 'replace', 'unlink')
"""Functions of `os` before which a process is killed."""


def run_killed(
    body: Callable[[], Any],
    at: int | None = None,
    delay: float | None = None,
    log: Path | None = None,
) -> int:
    """Exit code of a process, a fork of this one, that may be killed.

    Args:
        body: What it runs.
        at: Number of calls to ``CALLS`` that it survives. Where it dies in
            ``fsync`` of a file, the file keeps half of its content.
        delay: Seconds after which it is killed.
        log: File for its output.
    """
    process = multiprocessing.get_context('fork').Process(
        target=run, args=(body, at, delay, log)
    )
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def run(
    body: Callable[[], Any],
    at: int | None,
    delay: float | None,
    log: Path | None,
) -> None:
    if log is not None:
        file = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(file, stream)
    if at is not None:
        watch(at)
    if delay is not None:
        threading.Timer(delay, kill).start()
    body()


def watch(left: int) -> None:
    """Kill this process after so many calls."""

    def watched(function: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if not left:
                if function is fsync:
                    halve(args[0])
                kill()
            left -= 1
            return function(*args, **kwargs)

        return call

    fsync = os.fsync
    for name in CALLS:
        setattr(os, name, watched(getattr(os, name)))


def halve(handle: int) -> None:
    """What a kill may leave of a file; a folder stays as it is."""
    status = os.fstat(handle)
    if stat.S_ISREG(status.st_mode):
        os.ftruncate(handle, status.st_size // 2)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)

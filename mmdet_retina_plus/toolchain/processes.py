"""Run a command with its output in a log; its children end with us.

Standard library only, and the syntax of Python 3.7: `make setup` imports this
file before anything is installed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import RawIOBase
from pathlib import Path

PATIENCE = 10
"""Seconds that a process group has to end by itself after SIGTERM."""
# What pip prints when it retries, whatever the cause.
NO_NETWORK = 'after connection broken by'
NO_CERTIFICATE = 'CERTIFICATE_VERIFY_FAILED'
NO_SPACE = re.compile('No space left on device|Disk quota exceeded', re.I)
READ_ONLY = re.compile("Read-only file system(: '[^'\n]*')?")
# What gcc, nvcc, Python and torch print, mostly since memory ran out.
NO_MEMORY = re.compile(
    'Killed signal terminated program|compiler error: Killed|died due to '
    'signal 9|memory exhausted|Cannot allocate memory|died with '
    '<Signals.SIGKILL|is killed by signal: Killed'
)
OUT_OF_MEMORY = 'A process was killed, usually since memory ran out'
# What subprocess.CalledProcessError says of a child that crashed.
CRASHED = re.compile(r'died with <Signals\.(\w+)')
COMPILER_ERROR = re.compile(
    r'(:\d+:|\(\d+\):) (fatal )?error: |internal compiler error: |'
    r'^nvcc (fatal|error)|\bld: '
)
# Last line of a traceback.
EXCEPTION = re.compile(r'[\w.]*\w(Error|Exception)(: |$)')
# What pip, torch and subprocess end with, whatever the cause.
NO_CAUSE = re.compile(
    "failed to build|failed building wheel|finished with status 'error'|"
    'subprocess-exited-with-error|^note: |CalledProcessError|'
    'error compiling objects for extension',
    re.I,
)


class CommandFailed(Exception):
    """A command that failed; the text is the reason, one line.

    Args:
        output: The lines that the command printed.
        status: Its exit code; negative for a signal.
    """

    def __init__(self, output: Sequence[str], status: int) -> None:
        super().__init__(reason(output, status))

    @property
    def out_of_memory(self) -> bool:
        return str(self) == OUT_OF_MEMORY


def reason(output: Sequence[str], status: int) -> str:
    """Why a command failed, and the fix where it is known."""
    text = ''.join(output)
    if NO_SPACE.search(text):
        return 'The disk is full: free some space and run again'
    if NO_MEMORY.search(text) or status == -signal.SIGKILL:
        return OUT_OF_MEMORY
    lines = [line.strip() for line in output if line.strip()]
    for line in lines:
        # What comes after a compiler's first error is only its consequence.
        if COMPILER_ERROR.search(line):
            return line
    read_only = READ_ONLY.search(text)
    if read_only:
        return f'{read_only[0]}: use a folder elsewhere, or set TMPDIR'
    if NO_CERTIFICATE in text:
        return (
            "The package index's certificate is not trusted: point PIP_CERT "
            'to that of your proxy'
        )
    if NO_NETWORK in text:
        return (
            'The package index cannot be reached: check the network, or '
            'point pip to local files by PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER'
        )
    if status < 0:
        return f'crashed with {signal_name(-status)}'
    crashed = CRASHED.search(text)
    if crashed:
        return f'crashed with {crashed[1]}'
    causes = [line for line in lines if not NO_CAUSE.search(line)]
    exceptions = [line for line in causes if EXCEPTION.match(line)]
    errors = [line for line in causes if 'error' in line.lower()]
    last = (exceptions or errors or causes or lines or ['no output'])[-1]
    return last.removeprefix('Error: ')


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'signal {number}'


def run(
    command: Sequence[str | Path],
    log: Path,
    on_line: Callable[[str], object] = bool,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a command, its output in the log.

    Args:
        command: Program and arguments.
        log: File to append the output to. What a full disk does not take is
            left out.
        on_line: Is given each line of output as it comes.
        env: Environment variables, those of this process by default.

    Raises:
        CommandFailed: With the reason.
        OSError: The program or the log cannot be opened.
    """
    # Unbuffered, so that a failing write is not tried again when it is closed.
    with log.open('ab', buffering=0) as file:
        append(file, f'$ {" ".join(map(str, command))}\n')
        # A group of its own, so that all of it can be ended.
        process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            env=env,
            start_new_session=True,
        )
        assert process.stdout is not None
        output = []
        try:
            for line in process.stdout:
                append(file, line)
                output.append(line)
                on_line(line)
            status = process.wait()
        except BaseException:
            end_group(process)
            raise
    if status:
        raise CommandFailed(output, status)


def append(file: RawIOBase, text: str) -> None:
    """Write a line of a log, unless its disk is full.

    The command's own output says why the command failed.
    """
    with suppress(OSError):
        file.write(text.encode())


def end_group(process: subprocess.Popen) -> None:
    """End a process that leads a group, and the rest of the group.

    They have a few seconds to do so, unless another signal comes meanwhile.
    """
    with suppress(ProcessLookupError):
        try:
            os.killpg(process.pid, signal.SIGTERM)
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                process.poll()  # A zombie would count as a member.
                os.killpg(process.pid, 0)
                time.sleep(0.02)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def interrupt_on_signals() -> None:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt, as SIGINT does.

    By default they end Python at once, and what it started keeps running. A
    signal that is ignored (nohup) stays ignored.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)

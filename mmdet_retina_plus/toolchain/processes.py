"""Run a command with its output in a log, and end its children with it.

Standard library and syntax of Python 3.7 only: `make setup` imports this file
before anything is installed.
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
"""Seconds to wait after SIGTERM before a process group is killed."""
# Message of pip when it retries, whatever the cause.
NO_NETWORK = 'after connection broken by'
NO_CERTIFICATE = 'CERTIFICATE_VERIFY_FAILED'
NO_SPACE = re.compile('No space left on device|Disk quota exceeded', re.I)
READ_ONLY = re.compile("Read-only file system(: '[^'\n]*')?")
# Messages of gcc, nvcc, Python and torch that mostly mean lack of memory.
NO_MEMORY = re.compile(
    'Killed signal terminated program|compiler error: Killed|died due to '
    'signal 9|memory exhausted|Cannot allocate memory|died with '
    '<Signals.SIGKILL|is killed by signal: Killed'
)
OUT_OF_MEMORY = 'A process was killed, usually because memory ran out'
# Message of subprocess.CalledProcessError about a child that crashed.
CRASHED = re.compile(r'died with <Signals\.(\w+)')
COMPILER_ERROR = re.compile(
    r'(:\d+:|\(\d+\):) (fatal )?error: |internal compiler error: |'
    r'^nvcc (fatal|error)|\bld: '
)
# Last line of a traceback.
EXCEPTION = re.compile(r'[\w.]*\w(Error|Exception)(: |$)')
# Last messages of pip, torch and subprocess, whatever the cause.
NO_CAUSE = re.compile(
    "failed to build|failed building wheel|finished with status 'error'|"
    'subprocess-exited-with-error|^note: |CalledProcessError|'
    'error compiling objects for extension',
    re.I,
)


class CommandFailed(Exception):
    """A command failed; the message is the reason, in one line.

    Args:
        output: Lines that the command printed.
        status: Its exit code; negative for a signal.
    """

    def __init__(self, output: Sequence[str], status: int) -> None:
        super().__init__(reason(output, status))

    @property
    def out_of_memory(self) -> bool:
        return str(self) == OUT_OF_MEMORY


def reason(output: Sequence[str], status: int) -> str:
    """Find out why a command failed, and the fix if known."""
    text = ''.join(output)
    if NO_SPACE.search(text):
        return 'The disk is full: free some space and run again'
    if NO_MEMORY.search(text) or status == -signal.SIGKILL:
        return OUT_OF_MEMORY
    lines = [line.strip() for line in output if line.strip()]
    for line in lines:
        # Later compiler errors are consequences of the first.
        if COMPILER_ERROR.search(line):
            return line
    read_only = READ_ONLY.search(text)
    if read_only:
        return f'{read_only[0]}: use a folder elsewhere, or set TMPDIR'
    if NO_CERTIFICATE in text:
        return (
            'The certificate of the package index is not trusted: point '
            'PIP_CERT to the certificate of your proxy'
        )
    if NO_NETWORK in text:
        return (
            'The package index is unreachable: check the network, or point '
            'pip to local files with PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER'
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
    """Run a command and append its output to a log.

    Args:
        command: Program and arguments.
        log: File to append to. Lines that a full disk refuses are left out.
        on_line: Receives each line of output as it comes.
        env: Environment variables, those of this process by default.

    Raises:
        CommandFailed: With the reason.
        OSError: The program or the log cannot be opened.
    """
    # Unbuffered, so that closing does not repeat a failed write.
    with log.open('ab', buffering=0) as file:
        append(file, f'$ {" ".join(map(str, command))}\n')
        # A separate process group, so that all of it can be ended.
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
    """Write a line to a log; errors such as a full disk are ignored.

    The output of the command itself says why it failed.
    """
    with suppress(OSError):
        file.write(text.encode())


def end_group(process: subprocess.Popen) -> None:
    """End a process group, given its leader.

    The group is killed after `PATIENCE` seconds, or when another signal comes.
    """
    with suppress(ProcessLookupError):
        try:
            os.killpg(process.pid, signal.SIGTERM)
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                process.poll()  # A zombie counts as a member.
                os.killpg(process.pid, 0)
                time.sleep(0.02)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def interrupt_on_signals() -> None:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt, as SIGINT does.

    By default they end Python at once, while its children keep running. A
    signal that is ignored, as under nohup, stays ignored.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)

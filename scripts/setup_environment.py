"""Make `.venv`: what `make setup` runs. Standard library only.

Safe to interrupt and to run again: pip skips what is there, and the wheel of
mmcv, once compiled, stays in pip's cache.
"""

# Lets an older Python get as far as the check that refuses it.
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin' / 'python'
LOG = VENV / 'setup.log'
FREE_GIGABYTES = 4
BUILD_TOOLS = ('torch', 'setuptools', 'wheel', 'ninja', 'psutil', 'numpy')
MIM_NEEDS = ('click', 'colorama', 'model-index', 'pandas', 'requests', 'rich')


def main() -> None:
    check_machine()
    make_venv()
    pip('pip', what='pip')
    pip(*BUILD_TOOLS, what='torch and build tools')
    install_mmcv()
    pip('mmengine', 'mmdet', what='mmengine and mmdet')
    pip('--no-deps', 'openmim', what='mim')
    pip(*MIM_NEEDS, 'tabulate', what="mim's needs")
    pip('--no-build-isolation', '-e', f'{ROOT}[test]', what='this package')
    if not python_runs('import cv2'):
        # A machine without a screen often lacks libGL.
        command = [PYTHON, '-m', 'pip', 'uninstall', '-y', 'opencv-python']
        run(command, 'opencv-python')
        pip('opencv-python-headless', what='opencv without libGL')
    if not python_runs('import mmcv.ops'):
        # A wheel in pip's cache may have met another torch.
        say('The operators of mmcv do not load, they are compiled anew.')
        install_mmcv('--force-reinstall', '--no-deps', '--no-cache-dir')
    if not python_runs('import mmcv.ops, mmdet_retina_plus'):
        fail('The environment is complete but does not import', LOG)
    say('The environment stands: `. .venv/bin/activate` to enter it.')


def check_machine() -> None:
    """Say what is missing before anything is downloaded."""
    if sys.version_info[:2] != (3, 11):
        fail(
            f'Python 3.11 is needed, this is {sys.version.split()[0]}: '
            'install it, or name it by `make PYTHON=/path/to/python3.11`'
        )
    compiler = os.environ.get('CXX', 'c++').split()[0]
    if not shutil.which(compiler):
        fail(f'No C++ compiler `{compiler}` to build mmcv: install g++')
    if not Path(sysconfig.get_path('include'), 'Python.h').is_file():
        fail("Python's headers are missing: install python3.11-dev")
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < FREE_GIGABYTES and not VENV.is_dir():
        fail(
            f'{free:.1f} GB are free on the disk of {ROOT}, the environment '
            f'needs {FREE_GIGABYTES} GB, and 12 where pip brings CUDA along'
        )


def make_venv() -> None:
    """A virtual environment whose pip runs; a broken one is replaced."""
    if not python_runs('import pip'):
        result = subprocess.run(
            [sys.executable, '-m', 'venv', '--clear', VENV],
            capture_output=True,
            text=True,
        )
        if result.returncode:
            fail(
                'Python cannot make a virtual environment: install '
                'python3.11-venv, or see '
                f'`{sys.executable} -m venv {VENV}`'
            )


def install_mmcv(*options: str) -> None:
    """Build the operators, unless they load already."""
    if python_runs('import mmcv.ops'):
        return
    if python_runs(
        'import torch, shutil, sys; sys.exit(not torch.cuda.is_available()'
        ' or shutil.which("nvcc") is not None)'
    ):
        fail(
            'torch sees a GPU, but there is no nvcc to compile the GPU code '
            'of mmcv: install the CUDA toolkit of your torch, or do without '
            'the GPU: `export CUDA_VISIBLE_DEVICES=-1` for set-up and training'
        )
    say(
        'mmcv comes as source: it compiles once, 7 to 10 minutes on two idle '
        'cores; pip keeps the result for later environments.'
    )
    os.environ['MMCV_WITH_OPS'] = '1'
    pip(
        '-v',
        '--no-build-isolation',
        *options,
        'mmcv',
        what='mmcv',
        on_line=BuildProgress(),
    )


class BuildProgress:
    """Prints how many of the files of a ninja build are compiled."""

    def __init__(self) -> None:
        self.begin = time.monotonic()
        self.printed = 0.0

    def __call__(self, line: str) -> None:
        found = re.match(r'\s*\[(\d+)/(\d+)\]', line)
        if not found:
            return
        done, total = map(int, found.groups())
        now = time.monotonic()
        if done == total or now - self.printed > 15:
            self.printed = now
            minutes = (now - self.begin) / 60
            say(f'  mmcv: {done} of {total} files, {minutes:.1f} min')


def pip(
    *arguments: str, what: str, on_line: Callable[[str], None] | None = None
) -> None:
    say(f'Installing {what} ...')
    command = [
        PYTHON,
        *('-m', 'pip', 'install', '--disable-pip-version-check'),
        *('-c', ROOT / 'constraints.txt'),
        *arguments,
    ]
    run(command, what, on_line)


def run(
    command: list[str | Path],
    what: str,
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Run a command, its output in the log; a failure ends with its reason."""
    with LOG.open('a') as log:
        print('$', *command, file=log, flush=True)
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
        )
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            log.write(line)
            lines.append(line)
            if on_line:
                on_line(line)
    if process.wait():
        output = ''.join(lines)
        if 'No space left on device' in output:
            fail('The disk is full: make room and run again')
        errors = [line for line in lines if 'error' in line.lower()]
        reason = (errors or lines or ['no output'])[-1].strip()
        fail(f'Installing {what} failed: {reason}', LOG)


def python_runs(code: str) -> bool:
    """Whether the environment's Python exists and the code exits with 0."""
    if not PYTHON.is_file():
        return False
    result = subprocess.run([PYTHON, '-c', code], capture_output=True)
    return result.returncode == 0


def say(text: str) -> None:
    print(text, flush=True)


def fail(reason: str, log: Path | None = None) -> None:
    sys.exit(f'setup: {reason}' + (f' (whole output: {log})' if log else ''))


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('setup: interrupted; `make setup` goes on from here')

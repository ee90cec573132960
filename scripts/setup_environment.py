"""Create `.venv` for `make setup`, with the standard library only.

Arguments are those of `retina-plus build-mmcv`. The environment variable STACK
selects OpenMMLab's packages or those of the onedl fork, which get a separate
environment. The script can be interrupted and run again: pip skips what is
installed, and the compiled wheel of mmcv is kept for later environments.
"""

# Lets an older Python reach the check that refuses it.
from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
# The package is not installed yet, so two of its files are imported by path.
sys.path.insert(0, str(ROOT / 'mmdet_retina_plus' / 'toolchain'))
import machine  # noqa: E402
import processes  # noqa: E402


class Stack(NamedTuple):
    """Distributions that provide mmengine, mmdet, mmcv and mim."""

    venv: str
    mmdet: tuple[str, ...]
    mmcv: str
    mim: str
    build_options: tuple[str, ...] = ()


STACKS = {
    'upstream': Stack('.venv', ('mmengine', 'mmdet'), 'mmcv', 'openmim'),
    'onedl': Stack(
        '.venv-onedl',
        ('onedl-mmengine', 'onedl-mmdetection'),
        'onedl-mmcv',
        'onedl-mim',
        ('--fork', 'onedl'),
    ),
}
STACK = STACKS.get(os.environ.get('STACK', 'upstream'))
if STACK is None:
    sys.exit(f'setup: STACK is one of {", ".join(STACKS)}')
VENV = ROOT / STACK.venv
PYTHON = VENV / 'bin' / 'python'
LOG = VENV / 'setup.log'
CONSTRAINTS = ROOT / 'constraints.txt'
CACHE = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
WHEELS = CACHE / 'mmdet_retina_plus'
# Free space for the environment and, while pip downloads, for TMPDIR.
FREE_GIGABYTES = (4, 1)
FREE_GIGABYTES_CUDA = (10, 4)
BUILD_TOOLS = ('torch', 'setuptools', 'ninja', 'numpy')
MIM_NEEDS = ('click', 'colorama', 'model-index', 'pandas', 'requests', 'rich')


def main(build_options: list[str]) -> None:
    begin = time.monotonic()
    check_machine(build_options)
    make_venv()
    pip('pip', what='pip')
    pip(*BUILD_TOOLS, what='torch and build tools')
    pip('--no-build-isolation', '-e', f'{ROOT}[test]', what='this package')
    pip(*STACK.mmdet, what=' and '.join(STACK.mmdet))
    pip('--no-deps', STACK.mim, what=STACK.mim)
    pip(*MIM_NEEDS, 'tabulate', what="mim's needs")
    if not python_runs('import cv2'):
        # A machine without a screen often lacks libGL.
        command = [PYTHON, '-m', 'pip', 'uninstall', '-y', 'opencv-python']
        run(command, 'opencv-python')
        pip('opencv-python-headless', what='opencv without libGL')
    if not python_runs('import mmcv.ops'):
        build_mmcv(build_options)
    elif build_options:
        command = ['build-mmcv', *STACK.build_options, *build_options]
        say(
            'mmcv is already installed, so BUILD_MMCV has no effect; to '
            f'rebuild it: {STACK.venv}/bin/retina-plus {shlex.join(command)}'
        )
    if not python_runs('import mmcv.ops, mmdet_retina_plus'):
        fail('The environment is complete but cannot be imported', LOG)
    minutes = (time.monotonic() - begin) / 60
    say(
        f'The environment is ready after {minutes:.1f} min: '
        f'`. {STACK.venv}/bin/activate` to enter it.'
    )


def check_options(build_options: list[str]) -> argparse.Namespace:
    """Check the options before anything is downloaded.

    They are those of `retina-plus build-mmcv`, whose click is not installed
    yet, except --fork, which is STACK=onedl.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument('--cuda', action='store_true')
    parser.add_argument('--arch', action='append')
    parser.add_argument('--wheel-dir', type=Path, default=WHEELS)
    parser.add_argument('--jobs', type=int)
    parser.add_argument('--no-compiler', action='store_true')
    usage = ' '.join(parser.format_usage().split()[2:])
    parser.error = lambda text: fail(f'BUILD_MMCV: {text}; it takes {usage}')
    return parser.parse_args(build_options)


def check_machine(build_options: list[str]) -> None:
    """Report what is missing before anything is downloaded."""
    if sys.version_info[:2] not in ((3, 11), (3, 12)):
        fail(
            'Python 3.11 or 3.12 is needed, this is '
            f'{sys.version.split()[0]}: '
            'install one, or name it with `make PYTHON=/path/to/python3.11`'
        )
    options = check_options(build_options)
    try:
        machine.ensure_folder(ROOT, 'a checkout of your own')
        machine.ensure_folder(
            options.wheel_dir,
            "another folder by BUILD_MMCV='--wheel-dir FOLDER', or by "
            'XDG_CACHE_HOME',
        )
        kept = any(options.wheel_dir.glob(wheel_pattern(options.cuda)))
        if not options.no_compiler and not kept:
            machine.check_compiler(17, '`make setup BUILD_MMCV=--no-compiler`')
        if not VENV.is_dir():
            check_disks()
    except ValueError as error:
        fail(str(error))


def wheel_pattern(cuda: bool) -> str:
    """Pattern of a compiled wheel of mmcv that fits Python and torch here.

    Before torch is installed, it is unknown whether it will see a GPU, which
    needs another wheel.

    Args:
        cuda: Whether only a wheel for GPUs matches.
    """
    python = 'cp{}{}'.format(*sys.version_info[:2])
    name = STACK.mmcv.replace('-', '_')
    return (
        f'{name}-{pinned(STACK.mmcv)}+torch{pinned("torch")}.'
        f'{"cu" * cuda}*-{python}-*.whl'
    )


def pinned(distribution: str) -> str:
    pattern = rf'^{distribution}==([^\s#]+)'
    found = re.search(pattern, CONSTRAINTS.read_text(), re.M)
    assert found, f'{CONSTRAINTS} does not name {distribution}'
    return found[1]


def check_disks() -> None:
    """Refuse disks without enough space for the environment.

    Raises:
        ValueError: With the fix.
    """
    index = ''.join(
        os.environ.get(f'PIP_{name}', '')
        for name in ('INDEX_URL', 'EXTRA_INDEX_URL')
    )
    (environment, temporary), hint = (
        FREE_GIGABYTES_CUDA,
        ', or name an index of CPU builds of torch by PIP_EXTRA_INDEX_URL',
    )
    # On other systems, and from an index of CPU builds, torch has no CUDA
    # libraries.
    if (
        not sys.platform.startswith('linux')
        or re.search(r'\bcpu\b', index)
        or os.environ.get('PIP_FIND_LINKS')
    ):
        (environment, temporary), hint = FREE_GIGABYTES, ''
    try:
        machine.check_disk(ROOT, environment)
        machine.check_disk(Path(tempfile.gettempdir()), temporary)
    except ValueError as error:
        raise ValueError(f'{error}{hint}') from error


def make_venv() -> None:
    """Create a virtual environment with pip; replace a broken one."""
    if not python_runs('import pip'):
        command = [sys.executable, '-m', 'venv', '--clear', VENV]
        try:
            processes.run(command, Path(os.devnull))
        except processes.CommandFailed as error:
            fail(
                f'Cannot create a virtual environment ({error}): install '
                f'python3.{sys.version_info[1]}-venv, or see '
                f'`{sys.executable} -m venv {VENV}`'
            )


def build_mmcv(options: list[str]) -> None:
    """Compile the operators, or use the wheel of an earlier environment."""
    say('Installing mmcv ...')
    command = [VENV / 'bin' / 'retina-plus', 'build-mmcv']
    run(
        [*command, *STACK.build_options, '--wheel-dir', WHEELS, *options],
        'mmcv',
        on_line=lambda line: line.startswith('Error') or say(f'  {line}'),
        env={**os.environ, 'PIP_CONSTRAINT': str(CONSTRAINTS)},
    )


def pip(*arguments: str, what: str) -> None:
    say(f'Installing {what} ...')
    command = [
        PYTHON,
        *('-m', 'pip', 'install', '--disable-pip-version-check'),
        *('-c', CONSTRAINTS),
        *arguments,
    ]
    run(command, what)


def run(
    command: list[str | Path],
    what: str,
    on_line: Callable[[str], object] = bool,
    env: dict[str, str] | None = None,
) -> None:
    """Run a command with its output in the log; exit if it fails."""
    try:
        processes.run(command, LOG, on_line, env)
    except processes.CommandFailed as error:
        fail(f'Installing {what} failed: {error}', LOG)


def python_runs(code: str) -> bool:
    """Whether the environment's Python exists and runs the code."""
    if not PYTHON.is_file():
        return False
    try:
        processes.run([PYTHON, '-c', code], Path(os.devnull))
    except processes.CommandFailed:
        return False
    return True


def say(text: str) -> None:
    print(text.rstrip(), flush=True)


def fail(reason: str, log: Path | None = None) -> None:
    sys.exit(f'setup: {reason}' + (f' (whole output: {log})' if log else ''))


if __name__ == '__main__':
    processes.interrupt_on_signals()
    try:
        main(sys.argv[1:])
    except OSError as error:
        fail(str(error))
    except KeyboardInterrupt:
        sys.exit('setup: interrupted; `make setup` resumes here')

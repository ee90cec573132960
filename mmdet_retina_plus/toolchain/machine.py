"""Check the machine for a build: compiler, headers, nvcc, folders, disk.

Standard library and syntax of Python 3.7 only, like `processes`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

# First releases whose __cplusplus has the standard's value.
COMPILERS = {
    17: 'g++ 9 or clang++ 6 or newer',
    20: 'g++ 11 or clang++ 10 or newer',
}
PROBE = """
#include <Python.h>
#include <vector>
#if __cplusplus < {year}00L
#error older standard
#endif
"""


def check_compiler(
    standard: int, otherwise: str = '`retina-plus build-mmcv --no-compiler`'
) -> None:
    """Refuse a machine without a suitable C++ compiler and Python headers.

    Args:
        standard: Last two digits of the C++ standard's year.
        otherwise: Alternative command that needs no compiler.

    Raises:
        ValueError: With the fix.
    """
    command = shlex.split(os.environ.get('CXX', 'c++'))
    if not command or not shutil.which(command[0]):
        raise ValueError(
            f'There is no C++ compiler `{" ".join(command)}`: install g++, '
            f'set CXX, or do without: {otherwise}'
        )
    headers = Path(sysconfig.get_path('include'))
    if not (headers / 'Python.h').is_file():
        version = '.'.join(map(str, sys.version_info[:2]))
        raise ValueError(
            f"Python's headers are missing: install python{version}-dev, or "
            f'do without a compiler: {otherwise}'
        )
    options = [f'-std=c++{standard}', f'-I{headers}', '-x', 'c++', '-E', '-']
    result = subprocess.run(
        [*command, *options],
        input=PROBE.format(year=2000 + standard),
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise ValueError(
            f'`{" ".join(command)}` ({first_line(command)}) does not compile '
            f'C++{standard}, which this torch needs: install '
            f'{COMPILERS.get(standard, "a newer one")}, set CXX, or do '
            f'without: {otherwise}'
        )


def check_nvcc(cuda: str, home: str | None) -> None:
    """Refuse a machine without the CUDA compiler that fits torch.

    Args:
        cuda: CUDA version of torch.
        home: Folder of the CUDA toolkit that torch found.

    Raises:
        ValueError: With the fix.
    """
    nvcc = Path(home or '', 'bin', 'nvcc')
    if home is None or not nvcc.is_file():
        raise ValueError(
            f'There is no nvcc to compile for the GPU: install the CUDA '
            f'toolkit {cuda} or set CUDA_HOME. To build for the CPU, drop '
            '--cuda and export CUDA_VISIBLE_DEVICES=-1'
        )
    output = subprocess.run([nvcc, '--version'], capture_output=True).stdout
    found = re.search(rb'release (\d+\.\d+)', output)
    version = found[1].decode() if found else 'unknown'
    # Minor releases are compatible, and torch accepts them.
    if version.split('.')[0] != cuda.split('.')[0]:
        raise ValueError(
            f'{nvcc} is for CUDA {version}, torch for CUDA {cuda}: install '
            f'the toolkit {cuda} and point CUDA_HOME to it'
        )


def ensure_folder(folder: Path, otherwise: str) -> None:
    """Create a folder if missing, and refuse one that is not writable.

    Args:
        folder: Path of the folder.
        otherwise: Alternative, for the error.

    Raises:
        ValueError: With the fix.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise ValueError(f'Cannot write into {folder}: use {otherwise}')


def check_disk(folder: Path, gigabytes: float) -> None:
    """Refuse a disk with less free space than this.

    Raises:
        ValueError: With the fix.
    """
    free = shutil.disk_usage(folder).free / 1e9
    if free < gigabytes:
        raise ValueError(
            f'{free:.1f} GB are free on the disk of {folder}, '
            f'{gigabytes:g} GB are needed: free some space'
            + ', or set TMPDIR'
            * (str(folder) == tempfile.gettempdir())
        )


def first_line(command: list[str]) -> str:
    """First line of a compiler's --version."""
    result = subprocess.run(
        [*command, '--version'], capture_output=True, text=True
    )
    return (result.stdout.strip().splitlines() or ['unknown version'])[0]

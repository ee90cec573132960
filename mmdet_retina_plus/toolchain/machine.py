"""What a build needs of the machine: compiler, headers, nvcc, folders, disk.

Standard library only, and the syntax of Python 3.7, as `processes`.
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

# The first releases whose __cplusplus is that of the standard.
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
    """Refuse a machine whose C++ compiler or Python headers will not do.

    Args:
        standard: Last two digits of the C++ standard's year.
        otherwise: Command that needs no compiler.

    Raises:
        ValueError: With the fix.
    """
    command = shlex.split(os.environ.get('CXX', 'c++'))
    if not command or not shutil.which(command[0]):
        raise ValueError(
            f'There is no C++ compiler `{" ".join(command)}`: install g++, '
            f'or set CXX, or do without: {otherwise}'
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
            f'{COMPILERS.get(standard, "a newer one")}, or set CXX, or do '
            f'without: {otherwise}'
        )


def check_nvcc(cuda: str, home: str | None) -> None:
    """Refuse a machine without the CUDA compiler that fits torch.

    Args:
        cuda: CUDA version of torch.
        home: Where torch expects the CUDA toolkit.

    Raises:
        ValueError: With the fix.
    """
    nvcc = Path(home or '', 'bin', 'nvcc')
    if home is None or not nvcc.is_file():
        raise ValueError(
            f'There is no nvcc to compile for the GPU: install the CUDA '
            f'toolkit {cuda} or set CUDA_HOME; or do without the GPU: drop '
            '--cuda and export CUDA_VISIBLE_DEVICES=-1'
        )
    output = subprocess.run([nvcc, '--version'], capture_output=True).stdout
    found = re.search(rb'release (\d+\.\d+)', output)
    version = found[1].decode() if found else 'unknown'
    # Minor releases are compatible; torch accepts them too.
    if version.split('.')[0] != cuda.split('.')[0]:
        raise ValueError(
            f'{nvcc} is of CUDA {version}, torch of CUDA {cuda}: install the '
            f'toolkit {cuda} and point CUDA_HOME to it'
        )


def check_writable(folder: Path, otherwise: str) -> None:
    """Refuse a folder that this user may not write to; make a missing one.

    Args:
        folder: Path of the folder.
        otherwise: What to use instead.

    Raises:
        ValueError: With the fix.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(str(folder), os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise ValueError(f'{folder} cannot be written to: use {otherwise}')


def check_disk(folder: Path, gigabytes: float) -> None:
    """Refuse a disk without so many gigabytes.

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
    """What a compiler calls itself."""
    result = subprocess.run(
        [*command, '--version'], capture_output=True, text=True
    )
    return (result.stdout.strip().splitlines() or ['unknown version'])[0]

"""Build, install and check mmcv."""

import hashlib
import os
import re
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path

from packaging.tags import sys_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from mmdet_retina_plus.common.cores import cores

from . import sources
from .machine import check_compiler, check_disk, check_nvcc, ensure_folder
from .processes import CommandFailed, run
from .target import Release, Target, find_cuda_home

PROVIDERS = ('mmcv', 'mmcv-full', 'mmcv-lite', 'onedl-mmcv')
PROOF = Path(__file__).with_name('proof.py')
PYTHON_OPERATORS = Path(__file__).with_name('python_ext.py')
FLAGS = '-O2 -DNDEBUG -g0 -w'
FEWER_JOBS = (
    ": run fewer compilers at once with --jobs 1 (make setup BUILD_MMCV='"
    "--jobs 1')"
)


@dataclass(frozen=True)
class Build:
    """One build of mmcv.

    Attributes:
        release: The release to build.
        target: Target to compile for; None for operators in Python.
        jobs: Number of parallel compilers.
        say: Shows a line of progress.
    """

    release: Release
    target: Target | None
    jobs: int
    say: Callable[[str], object]

    @cached_property
    def log(self) -> Path:
        """File for the output of pip and the compilers."""
        handle, log = tempfile.mkstemp(prefix='build-mmcv-', suffix='.log')
        os.close(handle)
        return Path(log)

    @property
    def version(self) -> str:
        label = self.target.label if self.target else python_label()
        return f'{self.release.version}+{label}'

    def step(
        self,
        what: str,
        *command: str | Path,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], object] = bool,
        if_killed: str = '',
    ) -> None:
        """Run a Python program.

        Args:
            what: Name of the step, for the error.
            command: Arguments of Python.
            env: Environment variables besides those of this process.
            on_line: Receives each line of output.
            if_killed: Hint for the error if memory ran out.

        Raises:
            ValueError: The program failed; with the reason.
        """
        scripts = str(Path(sys.executable).parent)
        path = os.pathsep.join([scripts, os.environ.get('PATH', '')])
        try:
            run(
                [sys.executable, *command],
                self.log,
                on_line,
                # torch looks for ninja on the PATH.
                {**os.environ, 'PATH': path, **(env or {})},
            )
        except CommandFailed as error:
            hint = if_killed * error.out_of_memory
            raise ValueError(
                f'{what} failed: {error}{hint} (whole output: {self.log})'
            ) from error

    def pip(self, what: str, *arguments: str | Path) -> None:
        version_check = '--disable-pip-version-check'
        self.step(what, '-m', 'pip', *arguments, version_check)


def build_mmcv(
    release: Release,
    target: Target | None,
    wheel_dir: Path | None = None,
    jobs: int | None = None,
    say: Callable[[str], object] = print,
) -> None:
    """Install a release of mmcv and check its operators.

    Args:
        release: The release to build.
        target: Target to compile for; None for operators in Python.
        wheel_dir: Folder that keeps wheels. A wheel that fits is installed
            from there instead of being built.
        jobs: Number of parallel compilers, by default that of the cores.
        say: Shows a line of progress.

    Raises:
        ValueError: With the reason and, if known, the fix.
    """
    check_environment(release, wheel_dir)
    build = Build(release, target, jobs or cores(), say)
    if not (wheel_dir and installed_from(build, wheel_dir)):
        check_tools(release, target)
        with tempfile.TemporaryDirectory() as folder:
            wheel = make_wheel(build, Path(folder))
            if wheel_dir:
                wheel = Path(shutil.copy(wheel, wheel_dir))
                say(f'The wheel is kept as {wheel}')
            install(build, wheel)
    build.log.unlink(missing_ok=True)


def python_label() -> str:
    """Label of wheels with operators in Python; it changes with their code."""
    digest = hashlib.sha256(PYTHON_OPERATORS.read_bytes()).hexdigest()
    return f'python.{digest[:8]}'


def check_environment(release: Release, wheel_dir: Path | None) -> None:
    """Refuse an environment into which mmcv cannot be installed.

    Raises:
        ValueError: With the fix.
    """
    if not version_of('pip'):
        raise ValueError(
            'pip, which builds and installs mmcv, is missing: run '
            'python -m ensurepip or uv pip install pip'
        )
    for name in PROVIDERS:
        if version_of(name) and name != release.name:
            raise ValueError(
                f'{release.name} would overwrite files of {name}, which is '
                f'installed: pip uninstall -y {name}'
            )
    ensure_folder(Path(sysconfig.get_path('purelib')), 'a venv of your own')
    if wheel_dir:
        ensure_folder(wheel_dir, 'another --wheel-dir')


def check_tools(release: Release, target: Target | None) -> None:
    """Check the build tools before anything is downloaded or compiled.

    Raises:
        ValueError: With the fix.
    """
    setuptools = version_of('setuptools')
    low, high = release.setuptools
    lacks_ninja = target is not None and not version_of('ninja')
    if not setuptools or not low <= int(setuptools.split('.')[0]) < high:
        raise ValueError(
            f'setuptools {setuptools or "is missing"} does not build '
            f"{release.name}: pip install 'setuptools>={low},<{high}'"
            + ' ninja'
            * lacks_ninja
        )
    if lacks_ninja:
        raise ValueError(
            'ninja, which compiles on all cores, is missing: pip install ninja'
        )
    cuda = target.cuda if target else ''
    if target:
        check_compiler(target.standard)
    if target and cuda:
        check_nvcc(cuda, find_cuda_home())
    check_disk(Path(tempfile.gettempdir()), 4 if cuda else 1)


def version_of(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def installed_from(build: Build, wheel_dir: Path) -> bool:
    """Install a fitting wheel of the folder; whether one was and works."""
    name = canonicalize_name(build.release.name).replace('-', '_')
    for wheel in wheel_dir.glob(f'{name}-{build.version}-*.whl'):
        *_, tags = parse_wheel_filename(wheel.name)
        if tags.isdisjoint(sys_tags()):
            continue
        build.say(f'Installing {wheel}')
        try:
            install(build, wheel)
        except ValueError as error:
            build.say(f'Building it again: {error}')
            return False
        return True
    return False


def make_wheel(build: Build, folder: Path) -> Path:
    """Download the sources and build their wheel in a folder."""
    release, target = build.release, build.target
    name = f'{release.name} {release.version}'
    build.say(f'Downloading {name} ...')
    build.pip(
        f'Downloading {name}',
        *('download', '--no-deps', '--no-build-isolation'),
        *('--no-binary', release.name, '-d', folder),
        f'{release.name}=={release.version}',
    )
    (sdist,) = folder.glob('*.tar.gz')
    # Without a filter, which Python 3.11.3 lacks: its setup.py runs anyway.
    shutil.unpack_archive(sdist, folder)
    source = folder / sdist.name.removesuffix('.tar.gz')
    sources.set_label(source, build.version.split('+')[1])
    what = f'Building {name}'
    if target:
        sources.amalgamate(source)
        sources.set_standard(source, target.standard)
        device = f'CUDA {target.cuda}' if target.cuda else 'CPU'
        what = (
            f'Compiling {name} for torch {target.torch} (C++'
            f'{target.standard}, {device})'
        )
        build.say(f'{what}, {expected_time(target)} ...')
    else:
        sources.use_python_operators(source)
    build.step(
        what,
        *('-m', 'pip', 'wheel', '-v', '--disable-pip-version-check'),
        *('--no-deps', '--no-build-isolation', '--no-cache-dir'),
        *('-w', folder, source),
        env=build_variables(target, build.jobs),
        on_line=Progress(build.say),
        if_killed=FEWER_JOBS,
    )
    (wheel,) = folder.glob('*.whl')
    return wheel


def expected_time(target: Target) -> str:
    if target.cuda:
        return 'about 900 CPU seconds per architecture'
    return 'about 110 to 190 CPU seconds'


def build_variables(target: Target | None, jobs: int) -> dict[str, str]:
    """Environment variables that mmcv's setup.py and torch read."""
    # 0 would rename the wheel to mmcv-lite.
    variables = {'MMCV_WITH_OPS': '1'}
    if target:
        flags = f'{os.environ.get("CFLAGS", "")} {FLAGS}'.strip()
        variables |= {'MAX_JOBS': str(jobs), 'CFLAGS': flags}
        variables['FORCE_CUDA'] = str(int(bool(target.cuda)))
    if target and target.cuda:
        variables |= {
            'CUDA_HOME': str(find_cuda_home()),
            'TORCH_CUDA_ARCH_LIST': ';'.join(target.archs),
            'MMCV_CUDA_ARGS': '-w',
        }
    return variables


def install(build: Build, wheel: Path) -> None:
    """Install a wheel over any earlier version, and check it."""
    what = f'Installing {build.release.name}'
    build.say(f'{what} ...')
    # Replace mmcv only, not its dependencies.
    build.pip(what, 'install', '--no-deps', '--force-reinstall', wheel)
    build.pip(what, 'install', f'{build.release.name}=={build.version}')
    lines = ['']
    build.step(
        'Checking the operators',
        PROOF,
        env={'MMDET_RETINA_PLUS_REGISTER': '0'},
        on_line=lines.append,
    )
    build.say(lines[-1].strip())


class Progress:
    """Shows how many of the files of a ninja build are compiled."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self.say = say
        self.begin = time.monotonic()

    def __call__(self, line: str) -> None:
        found = re.match(r'\s*\[(\d+)/(\d+)\]', line)
        if found:
            minutes = (time.monotonic() - self.begin) / 60
            done, total = found.groups()
            self.say(f'  {done} of {total} files, {minutes:.1f} min')

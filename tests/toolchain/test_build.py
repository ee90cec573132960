"""The steps of a build, without pip and compilers."""

import subprocess
import sys
import tarfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from mmdet_retina_plus.cli.build_mmcv import main
from mmdet_retina_plus.toolchain import build, machine
from mmdet_retina_plus.toolchain.build import (
    Progress,
    build_mmcv,
    build_variables,
    check_environment,
    check_tools,
)
from mmdet_retina_plus.toolchain.processes import CommandFailed
from mmdet_retina_plus.toolchain.target import RELEASES, Target

UPSTREAM = RELEASES['openmmlab']
CPU = Target('2.13.0+cpu', 17)
GPU = Target('2.14.1+cu130', 20, '13.0', ('8.0', '9.0'))
TOOLS = {'pip': '26.3', 'setuptools': '81.0.0', 'ninja': '1.13.2'}
WHEEL = 'mmcv-2.1.0+torch2.13.0.cpu-py3-none-any.whl'


class Commands:
    """Stands in for pip and for the check of the operators.

    Attributes:
        words: What each command was for.
        failing: Words of commands that fail, and how often.
        env: Environment of the compilation.
        setup: The setup.py that was built.
        status: Exit code of a command that fails.
    """

    def __init__(self, tmp_path: Path) -> None:
        self.sdist = tmp_path / 'mmcv-2.1.0.tar.gz'
        source = tmp_path / 'mmcv-2.1.0'
        for name in ('a.cpp', 'cpu/b.cpp', 'cuda/c.cu'):
            file = source / 'mmcv' / 'ops' / 'csrc' / 'pytorch' / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text('')
        (source / 'setup.py').write_text(
            "setup('-std=c++17', ext_modules=get_extensions())"
        )
        (source / 'setup.cfg').write_text('[egg_info]\ntag_build = \n')
        with tarfile.open(self.sdist, 'w:gz') as archive:
            archive.add(source, source.name)
        self.words: list[str] = []
        self.failing: dict[str, int] = {}
        self.status = 1

    def run(self, command, log, on_line, env):
        word = next(
            word
            for word in ('download', 'wheel', 'install', build.PROOF)
            if word in command
        )
        word = 'check' if word == build.PROOF else word
        self.words.append(word)
        if self.failing.get(word, 0):
            self.failing[word] -= 1
            raise CommandFailed([f'{word} met an error\n'], self.status)
        if word == 'download':
            folder = Path(command[command.index('-d') + 1])
            (folder / self.sdist.name).write_bytes(self.sdist.read_bytes())
        if word == 'wheel':
            self.env = env
            self.setup = (command[-1] / 'setup.py').read_text()
            Path(command[command.index('-w') + 1], WHEEL).write_text('')
        if word == 'check':
            on_line('All is well\n')


@pytest.fixture
def commands(tmp_path, monkeypatch):
    commands = Commands(tmp_path)
    monkeypatch.setattr(build, 'run', commands.run)
    monkeypatch.setattr(build, 'version_of', TOOLS.get)
    for name in ('check_compiler', 'check_nvcc', 'check_disk'):
        monkeypatch.setattr(build, name, lambda *_: None)
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    monkeypatch.setattr(build.tempfile, 'tempdir', str(tmp_path))
    return commands


BUILT = ['download', 'wheel', 'install', 'install', 'check']


def logs(folder: Path) -> list[Path]:
    return [*folder.glob('build-mmcv-*.log')]


def test_a_build_downloads_compiles_installs_and_checks(commands, tmp_path):
    said = []
    build_mmcv(UPSTREAM, CPU, say=said.append)
    assert commands.words == BUILT
    assert said[-1] == 'All is well'
    assert not logs(tmp_path)


@pytest.mark.parametrize('word', ['wheel', 'download'])
def test_only_a_killed_compiler_calls_for_fewer_jobs(commands, word):
    commands.failing, commands.status = {word: 1}, -9
    with pytest.raises(ValueError, match='memory ran out') as error:
        build_mmcv(UPSTREAM, CPU, say=str)
    assert ('--jobs 1' in str(error.value)) == (word == 'wheel')


def test_both_standards_reach_the_compilers(commands):
    build_mmcv(UPSTREAM, GPU, say=str)
    assert (
        commands.setup == "setup('-std=c++20', ext_modules=get_extensions())"
    )


def test_without_a_compiler_nothing_is_compiled(commands):
    build_mmcv(UPSTREAM, None, say=str)
    assert 'ext_modules=[]' in commands.setup


def test_the_sdist_is_unpacked_by_any_python(commands, monkeypatch):
    """Python before 3.10.12 and 3.11.4 has no ``filter``."""
    unpack = build.shutil.unpack_archive
    monkeypatch.setattr(
        build.shutil,
        'unpack_archive',
        lambda filename, folder: unpack(filename, folder),
    )
    build_mmcv(UPSTREAM, CPU, say=str)
    assert commands.words == BUILT


def test_ninja_is_found_beside_python(commands):
    build_mmcv(UPSTREAM, CPU, say=str)
    first = commands.env['PATH'].split(':')[0]
    assert first == str(Path(sys.executable).parent)


def test_a_kept_wheel_is_installed_without_compiling(commands, tmp_path):
    build_mmcv(UPSTREAM, CPU, tmp_path / 'wheels', say=str)
    assert (tmp_path / 'wheels' / WHEEL).is_file()
    commands.words.clear()
    build_mmcv(UPSTREAM, CPU, tmp_path / 'wheels', say=str)
    assert commands.words == ['install', 'install', 'check']


def test_a_kept_wheel_needs_neither_compiler_nor_build_tools(
    commands, tmp_path, monkeypatch
):
    monkeypatch.setattr(build, 'check_compiler', machine.check_compiler)
    monkeypatch.setenv('CXX', 'no-such-compiler')
    with pytest.raises(ValueError, match='no-such-compiler'):
        build_mmcv(UPSTREAM, CPU, tmp_path, say=str)
    assert not logs(tmp_path)
    monkeypatch.setattr(build, 'version_of', {'pip': '26.3'}.get)
    (tmp_path / WHEEL).write_text('')
    build_mmcv(UPSTREAM, CPU, tmp_path, say=str)
    assert commands.words == ['install', 'install', 'check']


@pytest.mark.parametrize(
    'other',
    [
        Target('2.14.1', 20),
        Target('2.13.0', 17, '13.0', ('9.0',)),
        None,
    ],
)
def test_a_wheel_for_another_target_is_not_taken(commands, tmp_path, other):
    build_mmcv(UPSTREAM, CPU, tmp_path / 'wheels', say=str)
    commands.words.clear()
    build_mmcv(UPSTREAM, other, tmp_path / 'wheels', say=str)
    assert commands.words == BUILT


def test_a_wheel_for_another_machine_is_not_taken(commands, tmp_path):
    other = WHEEL.replace('py3-none-any', 'cp311-cp311-win_amd64')
    (tmp_path / other).write_text('')
    build_mmcv(UPSTREAM, CPU, tmp_path, say=str)
    assert commands.words == BUILT


def test_a_kept_wheel_that_does_not_work_is_built_anew(commands, tmp_path):
    (tmp_path / WHEEL).write_text('')
    commands.failing = {'check': 1}
    said = []
    build_mmcv(UPSTREAM, CPU, tmp_path, say=said.append)
    assert commands.words == ['install', 'install', 'check', *BUILT]
    assert any('check met an error' in line for line in said)


@pytest.mark.parametrize('word', ['download', 'wheel', 'install', 'check'])
def test_a_step_that_fails_is_named_with_its_reason_and_log(
    commands, tmp_path, word
):
    commands.failing = {word: 1}
    with pytest.raises(ValueError, match=f'{word} met an error') as error:
        build_mmcv(UPSTREAM, CPU, say=str)
    (log,) = logs(tmp_path)
    assert str(log) in str(error.value)
    assert '\n' not in str(error.value)


def test_no_debug_information_and_all_jobs():
    variables = build_variables(CPU, 3)
    assert '-g0' in variables['CFLAGS']
    assert variables['MAX_JOBS'] == '3'
    assert variables['FORCE_CUDA'] == '0'
    assert 'TORCH_CUDA_ARCH_LIST' not in variables


def test_gpu_code_is_for_the_cards_named(monkeypatch):
    monkeypatch.setattr(build, 'find_cuda_home', lambda: '/cuda')
    variables = build_variables(GPU, 1)
    assert variables['FORCE_CUDA'] == '1'
    assert variables['TORCH_CUDA_ARCH_LIST'] == '8.0;9.0'
    assert variables['CUDA_HOME'] == '/cuda'


def test_the_wheel_is_not_renamed_to_mmcv_lite(monkeypatch):
    monkeypatch.setenv('MMCV_WITH_OPS', '0')
    assert build_variables(None, 1) == {'MMCV_WITH_OPS': '1'}


@pytest.mark.parametrize(
    ('versions', 'target', 'hint'),
    [
        ({'setuptools': '84.2.1'}, CPU, "'setuptools>=77,<82'"),
        ({'setuptools': None}, None, "'setuptools>=77,<82'"),
        ({'setuptools': None, 'ninja': None}, CPU, "<82' ninja"),
        ({'ninja': None}, CPU, 'pip install ninja'),
        ({'mmcv-lite': '2.1.0'}, CPU, 'pip uninstall -y mmcv-lite'),
        ({'onedl-mmcv': '2.3.6'}, None, 'pip uninstall -y onedl-mmcv'),
        ({'pip': None}, None, 'python -m ensurepip'),
        ({'mmcv': '2.1.0'}, CPU, None),
        ({'ninja': None}, None, None),
    ],
)
def test_packages_that_are_in_the_way_are_named(
    commands, monkeypatch, versions, target, hint
):
    monkeypatch.setattr(build, 'version_of', (TOOLS | versions).get)
    if hint is None:
        build_mmcv(UPSTREAM, target, say=str)
        return
    with pytest.raises(ValueError, match='pip') as error:
        build_mmcv(UPSTREAM, target, say=str)
    assert hint in str(error.value)
    assert not commands.words


def test_a_gpu_build_without_setuptools_is_told_so(monkeypatch):
    """torch.utils.cpp_extension, which knows the CUDA toolkit, needs it."""
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setitem(sys.modules, 'setuptools', None)
    monkeypatch.delitem(sys.modules, 'torch.utils.cpp_extension', False)
    monkeypatch.setattr(build, 'version_of', {'pip': '26.3'}.get)
    result = CliRunner().invoke(main, ['--cuda', '--arch', '9.0'])
    assert result.exit_code == 1
    assert "pip install 'setuptools>=77,<82'" in result.output
    assert result.output.count('\n') == 1


def test_the_fork_builds_with_a_new_setuptools(commands, monkeypatch):
    here = TOOLS | {'setuptools': '84.2.1', 'onedl-mmcv': '2.3.6'}
    monkeypatch.setattr(build, 'version_of', here.get)
    check_environment(RELEASES['onedl'], None)
    check_tools(RELEASES['onedl'], CPU)


def test_progress_counts_what_ninja_compiled():
    said: list[str] = []
    progress = Progress(said.append)
    for line in ('  [1/3] c++ a.cpp', 'warning', '[2/3] c++ b', '[3/3] c++ c'):
        progress(line)
    assert [line.split(',')[0].strip() for line in said] == [
        f'{i} of 3 files' for i in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['--arch', '9.0'], 'add --cuda'),
        (['--no-compiler', '--cuda'], 'remove --cuda'),
        (['--fork', 'another'], 'onedl'),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments, expected):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code != 0
    assert expected in result.output.replace('\n', ' ')


def test_the_command_works_where_mmdet_does_not_import():
    onedl = 'onedl-mmcv' in packages_distributions()['mmcv']
    fork = ['--fork', 'onedl'] if onedl else []
    code = (
        "import os, sys; sys.modules['mmdet'] = sys.modules['mmcv'] = None\n"
        "os.environ['CXX'] = 'no-such-compiler'\n"
        'from retina_plus_command import main\n'
        f"main(['build-mmcv', *{fork}])"
    )
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stderr.startswith('Error: ')
    assert result.stderr.count('\n') == 1
    assert 'install g++' in result.stderr


@pytest.mark.parametrize(
    ('part', 'hint'),
    [('wheels', 'another --wheel-dir'), ('site-packages', 'a venv of your')],
)
def test_folders_are_writable_before_anything_is_compiled(
    commands, tmp_path, monkeypatch, part, hint
):
    monkeypatch.setattr(
        machine.os, 'access', lambda path, mode: Path(path).name != part
    )
    with pytest.raises(ValueError, match=hint):
        build_mmcv(UPSTREAM, CPU, tmp_path / 'wheels', say=str)
    assert not commands.words


def test_wheels_with_other_operators_in_python_have_other_names(
    tmp_path, monkeypatch
):
    before = build.python_label()
    changed = tmp_path / 'python_ext.py'
    changed.write_text('')
    monkeypatch.setattr(build, 'PYTHON_OPERATORS', changed)
    assert build.python_label() != before

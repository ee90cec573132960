"""A machine that cannot hold the environment is told so in one line."""

import ast
import importlib.util
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

PATH = Path(__file__).parent.parent / 'scripts' / 'setup_environment.py'


@pytest.fixture
def setup(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location('setup_environment', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, 'VENV', tmp_path / '.venv')
    monkeypatch.setattr(module, 'LOG', tmp_path / 'setup.log')
    return module


def reason(check, *arguments) -> str:
    with pytest.raises(SystemExit) as exit_:
        check(*arguments)
    text = str(exit_.value)
    assert text.count('\n') == 0
    return text


def test_this_machine_will_do(setup):
    setup.check_machine()


def test_the_wrong_python_is_named(setup, monkeypatch):
    fake = SimpleNamespace(
        version_info=(3, 12, 1), version='3.12.1 (main)', exit=sys.exit
    )
    monkeypatch.setattr(setup, 'sys', fake)
    text = reason(setup.check_machine)
    assert '3.12.1' in text
    assert 'make PYTHON=' in text


def test_an_older_python_reads_as_far_as_the_check():
    ast.parse(PATH.read_text(), feature_version=(3, 7))
    assert 'from __future__ import annotations' in PATH.read_text()


def test_operators_that_do_not_load_are_compiled_anew(setup, monkeypatch):
    """As from a cached wheel that met another torch."""
    commands = []
    monkeypatch.setattr(
        setup, 'python_runs', lambda code: not re.search('mmcv|nvcc', code)
    )
    monkeypatch.setattr(
        setup, 'pip', lambda *arguments, **_: commands.append(arguments)
    )
    monkeypatch.setattr(setup, 'make_venv', lambda: None)
    with pytest.raises(SystemExit, match='does not import'):
        setup.main()
    first, second = (command for command in commands if 'mmcv' in command)
    assert '--force-reinstall' in second
    assert '--force-reinstall' not in first


def test_a_gpu_without_a_toolkit_is_named(setup, monkeypatch):
    monkeypatch.setattr(setup, 'python_runs', lambda code: 'nvcc' in code)
    assert 'CUDA_VISIBLE_DEVICES=-1' in reason(setup.install_mmcv)


def test_a_missing_compiler_is_named(setup, monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    assert 'install g++' in reason(setup.check_machine)


def test_missing_headers_are_named(setup, monkeypatch):
    fake = SimpleNamespace(get_path=lambda name: '/nowhere')
    monkeypatch.setattr(setup, 'sysconfig', fake)
    assert 'python3.11-dev' in reason(setup.check_machine)


def test_a_small_disk_is_named(setup, monkeypatch):
    usage = SimpleNamespace(free=1e9)
    monkeypatch.setattr(setup.shutil, 'disk_usage', lambda path: usage)
    assert '1.0 GB are free' in reason(setup.check_machine)


@pytest.mark.parametrize(
    ('output', 'expected'),
    [
        ('OSError: [Errno 28] No space left on device', 'disk is full'),
        ('ERROR: no matching distribution', 'no matching distribution'),
    ],
)
def test_a_failing_step_ends_with_its_reason(setup, output, expected):
    code = f'import sys; print({output!r}); sys.exit(1)'
    command = [sys.executable, '-c', code]
    assert expected in reason(setup.run, command, 'something')
    assert output in setup.LOG.read_text()


def test_progress_counts_what_ninja_compiled(setup, capsys):
    progress = setup.BuildProgress()
    for line in ('  [1/3] c++ a.cpp', 'warning', '[2/3] c++ b', '[3/3] c++ c'):
        progress(line)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in printed] == ['1', '3']

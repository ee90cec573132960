"""A machine that cannot hold the environment is told so in one line."""

import ast
import importlib.util
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmdet_retina_plus.cli.build_mmcv import main as build_mmcv
from tests.helpers.process_trees import check_that_all_end, start_tree

ROOT = Path(__file__).parent.parent
PATH = ROOT / 'scripts' / 'setup_environment.py'
TOOLCHAIN = ROOT / 'mmdet_retina_plus' / 'toolchain'


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    monkeypatch.setenv('STACK', 'upstream')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setenv('PIP_FIND_LINKS', str(tmp_path))


@pytest.fixture
def setup(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'path', sys.path.copy())
    spec = importlib.util.spec_from_file_location('setup_environment', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, 'VENV', tmp_path / '.venv')
    monkeypatch.setattr(module, 'LOG', tmp_path / 'setup.log')
    # The disk that runs the tests may be full of an environment already.
    monkeypatch.setattr(
        module.machine.shutil,
        'disk_usage',
        lambda path: SimpleNamespace(free=100e9),
    )
    return module


def reason(check, *arguments) -> str:
    with pytest.raises(SystemExit) as exit_:
        check(*arguments)
    text = str(exit_.value)
    assert text.count('\n') == 0
    return text


def test_this_machine_will_do_with_enough_space(setup):
    setup.check_machine([])


def test_the_wrong_python_is_named(setup, monkeypatch):
    fake = SimpleNamespace(
        version_info=(3, 13, 1), version='3.13.1 (main)', exit=sys.exit
    )
    monkeypatch.setattr(setup, 'sys', fake)
    text = reason(setup.check_machine, [])
    assert '3.13.1' in text
    assert 'make PYTHON=' in text


@pytest.mark.parametrize(
    'path', [PATH, TOOLCHAIN / 'machine.py', TOOLCHAIN / 'processes.py']
)
def test_an_older_python_reads_as_far_as_the_check(path):
    ast.parse(path.read_text(), feature_version=(3, 7))
    assert 'from __future__ import annotations' in path.read_text()


@pytest.fixture
def steps(setup, monkeypatch):
    """Names of the steps of set-up, where the code named does not run."""

    def take(broken: str | None, *options: str) -> list[str]:
        done = []
        monkeypatch.setattr(
            setup, 'python_runs', lambda code: not broken or broken not in code
        )
        monkeypatch.setattr(setup, 'pip', lambda *_, what: done.append(what))
        monkeypatch.setattr(setup, 'make_venv', lambda: None)
        monkeypatch.setattr(setup, 'check_machine', lambda options: None)
        monkeypatch.setattr(
            setup,
            'run',
            lambda command, what, *_, **__: done.append(
                ' '.join([what, *map(str, command[1:])])
            ),
        )
        with pytest.raises(SystemExit) if broken else monkeypatch.context():
            setup.main(list(options))
        return done

    return take


def test_operators_that_do_not_load_are_built_after_all_they_need(
    setup, steps
):
    done = steps('mmcv.ops', '--jobs', '3')
    command = done[-1].split()
    assert command[:2] == ['mmcv', 'build-mmcv']
    # The last --wheel-dir counts, so that one of the user's replaces ours.
    assert command[-4:-2] == ['--wheel-dir', str(setup.WHEELS)]
    assert command[-2:] == ['--jobs', '3']
    assert done.index('this package') < len(done) - 1
    assert done.index('mmengine and mmdet') < done.index('openmim')


def test_operators_that_load_are_left_alone(steps):
    assert not [step for step in steps(None) if step.startswith('mmcv')]


def test_options_that_come_too_late_are_named(steps, capsys):
    steps(None, '--jobs', '1')
    assert 'retina-plus build-mmcv --jobs 1\n' in capsys.readouterr().out


@pytest.mark.parametrize('options', ['', '--jobs 1'])
def test_only_options_run_a_finished_set_up_again(tmp_path, options):
    names = ('setup.py', 'constraints.txt', 'scripts/setup_environment.py')
    for name in (*names, '.venv/complete'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    result = subprocess.run(
        [
            'make',
            '-n',
            '-f',
            ROOT / 'Makefile',
            'setup',
            f'BUILD_MMCV={options}',
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    again = 'scripts/setup_environment.py --jobs 1' in result.stdout
    assert again == bool(options), result.stdout


def test_a_missing_compiler_is_named(setup, tmp_path, monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    text = reason(setup.check_machine, [])
    assert 'install g++' in text
    assert 'make setup BUILD_MMCV=--no-compiler' in text
    setup.check_machine(['--no-compiler'])


@pytest.mark.parametrize(
    ('torch', 'label', 'python', 'options', 'kept'),
    [
        ('torch{}', 'cpu', 'cp{}{}', [], True),
        ('torch{}', 'cu130.sm90', 'cp{}{}', [], True),
        ('torch{}', 'cu130.sm90', 'cp{}{}', ['--cuda'], True),
        ('torch{}', 'cpu', 'cp{}{}', ['--cuda'], False),
        ('torch9.{}', 'cpu', 'cp{}{}', [], False),
        ('torch{}', 'cpu', 'cp9{}{}', [], False),
        ('python', '1234abcd', 'py3', [], False),
    ],
)
def test_only_a_wheel_that_fits_makes_a_compiler_needless(
    setup, tmp_path, monkeypatch, torch, label, python, options, kept
):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    version = setup.pinned('torch')
    tag = python.format(*sys.version_info[:2])
    name = f'mmcv-2.1.0+{torch.format(version)}.{label}-{tag}-{tag}-any.whl'
    (tmp_path / name).touch()
    options = [*options, '--wheel-dir', str(tmp_path)]
    if kept:
        setup.check_machine(options)
    else:
        assert 'install g++' in reason(setup.check_machine, options)


@pytest.mark.parametrize(
    ('name', 'hint'),
    [('ROOT', 'a checkout of your own'), ('WHEELS', 'XDG_CACHE_HOME')],
)
def test_a_folder_that_is_not_writable_is_named(
    setup, monkeypatch, name, hint
):
    folder = getattr(setup, name)
    monkeypatch.setattr(
        setup.machine.os, 'access', lambda path, mode: Path(path) != folder
    )
    assert hint in reason(setup.check_machine, [])


@pytest.mark.parametrize(
    'options', [['--no-compilr'], ['--jobs', 'x'], ['--fork', 'onedl'], ['a']]
)
def test_options_of_the_build_are_checked_first(setup, options):
    text = reason(setup.check_machine, options)
    assert text.startswith('setup: BUILD_MMCV: ')
    assert options[0] in text
    assert '[--no-compiler]' in text


def test_set_up_takes_the_options_of_the_build(setup):
    names = {option.name for option in build_mmcv.params} - {'fork'}
    given = vars(setup.check_options([]))
    assert {name.rstrip('s') for name in given} == {
        name.rstrip('s') for name in names
    }


def test_a_small_disk_is_named(setup, monkeypatch):
    free = {setup.ROOT: 5e9, Path(tempfile.gettempdir()): 1.5e9}
    monkeypatch.setattr(
        setup.machine.shutil,
        'disk_usage',
        lambda path: SimpleNamespace(free=free[path]),
    )
    monkeypatch.setattr(setup.sys, 'platform', 'linux')
    setup.check_machine([])
    # PyPI's torch for Linux brings CUDA's libraries.
    monkeypatch.delenv('PIP_FIND_LINKS')
    text = reason(setup.check_machine, [])
    assert '5.0 GB are free' in text
    assert '10 GB are needed' in text
    assert 'PIP_EXTRA_INDEX_URL' in text
    free[setup.ROOT] = 12e9
    assert '1.5 GB are free' in reason(setup.check_machine, [])
    monkeypatch.setenv('PIP_EXTRA_INDEX_URL', 'https://example.org/whl/cpu')
    setup.check_machine([])


def test_a_failing_step_ends_with_its_reason(setup):
    code = 'print("ERROR: no matching distribution"); raise SystemExit(1)'
    text = reason(setup.run, [sys.executable, '-c', code], 'something')
    assert 'no matching distribution' in text
    assert str(setup.LOG) in text
    assert 'no matching distribution' in setup.LOG.read_text()


@pytest.fixture
def copied(tmp_path):
    """Set-up in a copy of the checkout, its Python replaced by a script."""

    def copy(script: str) -> Path:
        for path in (
            PATH,
            ROOT / 'constraints.txt',
            TOOLCHAIN / 'machine.py',
            TOOLCHAIN / 'processes.py',
        ):
            other = tmp_path / path.relative_to(ROOT)
            other.parent.mkdir(parents=True, exist_ok=True)
            other.write_text(path.read_text())
        python = tmp_path / '.venv' / 'bin' / 'python'
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\n{script}\n')
        python.chmod(0o755)
        return tmp_path / PATH.relative_to(ROOT)

    return copy


def test_a_log_that_cannot_be_opened_ends_in_one_line(copied):
    program = copied('exit 0')
    (program.parent.parent / '.venv' / 'setup.log').mkdir()
    result = subprocess.run(
        [sys.executable, program], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stderr.startswith('setup: ')
    assert 'setup.log' in result.stderr
    assert result.stderr.count('\n') == 1


@pytest.mark.parametrize(
    ('number', 'waiting'),
    [(signal.SIGTERM, '!='), (signal.SIGINT, '!='), (signal.SIGTERM, '=')],
)
def test_a_signal_to_set_up_alone_ends_its_children(copied, number, waiting):
    """Its pip waits, or a check by `python -c` does."""
    script = f'if [ "$1" {waiting} -c ]; then sleep 600 & wait; fi'
    program, descendants = start_tree(
        [sys.executable, copied(script)], 'sleep'
    )
    program.send_signal(number)
    assert 'interrupted' in program.communicate(timeout=60)[1]
    check_that_all_end(descendants)

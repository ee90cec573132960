"""The command line: quick, and clear about mistakes."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

import mmdet_retina_plus
from mmdet_retina_plus.cli.main import COMMANDS, main


def run(*arguments: str):
    return CliRunner().invoke(main, arguments)


def test_help_names_every_command():
    output = run('--help').output
    assert all(command in output for command in COMMANDS)


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_has_help(command):
    result = run(command, '--help')
    assert result.exit_code == 0
    assert 'Usage' in result.output


LIGHT = {
    'help': ['--help'],
    **{command: [command, '--help'] for command in COMMANDS},
    'shapes': ['make-data', 'shapes', 'set', '--num', '1'],
    'donuts': ['make-data', 'donuts', 'set', '--num', '1', '--num-val', '1'],
    'doctor-runs': ['doctor'],
}


@pytest.mark.parametrize('arguments', LIGHT.values(), ids=LIGHT)
def test_a_command_starts_without_torch_and_mmdet(tmp_path, arguments):
    """The doctor looks at them in a process of its own, left out here."""
    code = (
        'import sys\n'
        "hosts = dict.fromkeys(['torch', 'mmcv', 'mmdet', 'mmengine'])\n"
        'sys.modules.update(hosts)\n'
        'from retina_plus_command import main\n'
        'from mmdet_retina_plus.doctor import facts\n'
        'facts.gather_facts = lambda: facts.Facts({}, {})\n'
        f'main({arguments})\n'
    )
    result = subprocess.run(
        [sys.executable, '-c', code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.stderr == ''
    assert result.stdout


def test_version():
    assert mmdet_retina_plus.__version__ in run('--version').output


def test_config_prints_the_path():
    result = run('config', 'retinanet_r50_fpn_fl')
    path = mmdet_retina_plus.config('retinanet_r50_fpn_fl')
    assert result.output == f'{path}\n'


def test_config_lists_names_that_it_finds():
    names = run('config').stdout.split()
    assert 'sweeps/ohem' in names and 'retinanet_r50_fpn_fl' in names
    for name in names:
        mmdet_retina_plus.config(name)


def test_config_suggests_the_nearest_name():
    result = run('config', 'retinanet_r50_fpn_f')
    assert result.exit_code == 1
    assert 'retinanet_r50_fpn_fl' in result.output

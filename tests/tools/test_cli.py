"""The command line: quick, and clear about mistakes."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

import mmdet_retina_plus
from mmdet_retina_plus.tools.cli import COMMANDS, main


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


@pytest.mark.parametrize(
    'arguments', [['--help'], ['make-data', 'shapes', 'set', '--num', '1']]
)
def test_light_commands_do_not_import_torch(tmp_path, arguments):
    code = (
        'import sys\n'
        f"sys.argv = ['retina-plus', *{arguments}]\n"
        'from mmdet_retina_plus.tools.cli import main\n'
        'main(standalone_mode=False)\n'
        "assert not {'torch', 'mmcv', 'mmdet', 'mmengine'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, '-c', code], cwd=tmp_path, check=True)


def test_version():
    assert mmdet_retina_plus.__version__ in run('--version').output


def test_config_prints_the_path():
    result = run('config', 'retinanet_r50_fpn_fl')
    path = mmdet_retina_plus.config('retinanet_r50_fpn_fl')
    assert result.output == f'{path}\n'


def test_config_suggests_the_nearest_name():
    result = run('config', 'retinanet_r50_fpn_f')
    assert result.exit_code == 1
    assert 'retinanet_r50_fpn_fl' in result.output


def test_make_data_writes_and_does_not_overwrite(tmp_path):
    arguments = ['make-data', 'shapes', str(tmp_path / 'set'), '--num', '2']
    assert run(*arguments).exit_code == 0
    assert (tmp_path / 'set' / 'instances_val.json').is_file()
    again = run(*arguments)
    assert again.exit_code == 1
    assert 'delete it or name another folder' in again.output


def test_make_data_without_opencv_names_the_doctor(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv2', None)
    monkeypatch.delitem(sys.modules, 'mmdet_retina_plus.data.shapes', False)
    result = run('make-data', 'shapes', str(tmp_path / 'set'))
    assert result.exit_code == 1
    assert 'retina-plus doctor' in result.output


def test_a_killed_make_data_leaves_nothing(tmp_path):
    command = [
        sys.executable,
        '-c',
        "import sys; sys.argv[0] = 'retina-plus'\n"
        'from mmdet_retina_plus.tools.cli import main; main()',
        *['make-data', 'shapes', 'set', '--num', '100000'],
    ]
    process = subprocess.Popen(command, cwd=tmp_path)
    while not list(tmp_path.glob('*/set/images/*')):
        assert process.poll() is None
    process.terminate()
    assert process.wait() == 1
    assert not list(tmp_path.iterdir())

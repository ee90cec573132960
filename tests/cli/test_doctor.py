"""The doctor's command line; what it finds is tested beside each check."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

import mmdet_retina_plus
from mmdet_retina_plus.cli import doctor
from mmdet_retina_plus.common.config_file import load_config
from mmdet_retina_plus.doctor import config, environment, facts
from mmdet_retina_plus.doctor.findings import Finding


@pytest.fixture
def given(monkeypatch):
    """Run the doctor; the config and the options that its check is given."""
    calls = []
    monkeypatch.setattr(facts, 'gather_facts', lambda: facts.Facts({}, {}))
    monkeypatch.setattr(environment, 'check_environment', lambda _: [])
    monkeypatch.setattr(
        config, 'check_config', lambda *call: calls.append(call[:2]) or []
    )

    def run(*words):
        result = CliRunner().invoke(doctor.main, words)
        assert result.exit_code == 0, result.output
        assert f'plus {mmdet_retina_plus.__version__}\n' in result.output
        return calls.pop()

    return run


OPTION = '--cfg-options'


@pytest.mark.parametrize(
    'words',
    [
        ['config.py', OPTION, 'a=1', 'b=2', 'c=3'],
        [OPTION, 'a=1', 'b=2', 'c=3', 'config.py'],
        ['config.py', OPTION, 'a=1', OPTION, 'b=2', 'c=3'],
        [OPTION, 'a=1', 'config.py', f'{OPTION}=b=2', 'c=3'],
    ],
)
def test_one_option_takes_many_pairs(given, words):
    assert given(*words) == (Path('config.py'), ('a=1', 'b=2', 'c=3'))


def test_a_path_may_hold_an_equals_sign(given):
    assert given('lr=1/config.py') == (Path('lr=1/config.py'), ())


def test_the_options_of_a_config_head_work(given):
    """As a shell hands on the command in the comment of the config."""
    path = mmdet_retina_plus.config('retinanet_r18_fpn_pennfudan')
    (command,) = re.findall(
        r'mim train mmdet (\S+ --cfg-options(?:.*\\\n)+.*)',
        Path(path).read_text(),
    )
    words = subprocess.run(
        ['bash', '-c', 'printf "%s\\n" ' + re.sub(r'\\\n#', '', command)],
        env={'ROOT': '/set'},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    file, options = given(*words)
    assert file.name == Path(path).name
    cfg = load_config(path, options)
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == '/set'
    for split in ('val', 'test'):
        ann_file = cfg[f'{split}_evaluator'].ann_file
        assert ann_file == '/set/instances_val.json'


@pytest.mark.parametrize(
    ('level', 'code'), [('ok', 0), ('warning', 0), ('error', 1)]
)
def test_the_exit_code_says_whether_training_can_work(
    monkeypatch, tmp_path, level, code
):
    finding = Finding(level, 'subject', 'message', 'a fix')
    monkeypatch.setattr(facts, 'gather_facts', lambda: facts.Facts({}, {}))
    monkeypatch.setattr(environment, 'check_environment', lambda _: [])
    monkeypatch.setattr(config, 'check_config', lambda *_: [finding])
    result = CliRunner().invoke(doctor.main, [str(tmp_path / 'config.py')])
    assert result.exit_code == code
    assert ('subject: a fix' in result.output) == (level != 'ok')


def test_a_broken_environment_comes_first(monkeypatch, tmp_path):
    monkeypatch.setattr(facts, 'gather_facts', lambda: facts.Facts({}, {}))
    result = CliRunner().invoke(doctor.main, [str(tmp_path / 'config.py')])
    assert result.exit_code == 1
    assert 'is checked when the environment works' in result.output


def test_json_for_machines(tmp_path, monkeypatch):
    finding = Finding('error', 'subject', 'message', 'a fix')
    monkeypatch.setattr(facts, 'gather_facts', lambda: facts.Facts({}, {}))
    monkeypatch.setattr(environment, 'check_environment', lambda _: [])
    monkeypatch.setattr(config, 'check_config', lambda *_: [finding])
    path = str(tmp_path / 'config.py')
    result = CliRunner().invoke(doctor.main, [path, '--json'])
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        'version': mmdet_retina_plus.__version__,
        'config': path,
        'exit_code': 1,
        'findings': [
            {
                'level': 'error',
                'subject': 'subject',
                'message': 'message',
                'fix': 'a fix',
            }
        ],
    }


def test_json_has_the_standard_output_for_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(facts, 'gather_facts', lambda: facts.Facts({}, {}))
    monkeypatch.setattr(environment, 'check_environment', lambda _: [])
    path = tmp_path / 'config.py'
    path.write_text("print('from the config')\nraise ValueError('stopped')")
    result = CliRunner().invoke(doctor.main, [str(path), '--json'])
    (finding,) = json.loads(result.stdout)['findings']
    assert 'stopped' in finding['message']
    assert 'from the config' in result.stderr


def test_a_folder_is_no_config(tmp_path):
    (finding,) = config.check_config(tmp_path)
    assert finding.message == f'{tmp_path} is a folder, not a config'


def test_a_wrong_call_has_an_exit_code_of_its_own():
    assert CliRunner().invoke(doctor.main, ['--slow']).exit_code == 2


def test_pictures_cannot_lie_below_a_file(tmp_path):
    (tmp_path / 'file').touch()
    show = str(tmp_path / 'file/shown')
    result = CliRunner().invoke(doctor.main, ['a.py', '--show', show])
    assert result.exit_code == 2
    assert f'{tmp_path / "file"} is a file' in result.output


def test_fast_and_show_are_handed_on(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(facts, 'gather_facts', lambda: facts.Facts({}, {}))
    monkeypatch.setattr(environment, 'check_environment', lambda _: [])
    monkeypatch.setattr(
        config, 'check_config', lambda *call: calls.append(call) or []
    )
    CliRunner().invoke(doctor.main, ['a.py', '--fast', '--show', 'shown'])
    assert calls[0][2:4] == (True, Path('shown'))

"""What make-data writes, refuses and says."""

import inspect
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from mmdet_retina_plus.cli.make_data import main
from mmdet_retina_plus.synthetic.donuts import make_donuts
from mmdet_retina_plus.synthetic.presets import DONUT_PRESETS, PRESETS
from mmdet_retina_plus.synthetic.shapes import make_shapes


def run(*arguments: str):
    return CliRunner().invoke(main, arguments)


def test_make_data_writes_and_does_not_overwrite(tmp_path):
    arguments = ['shapes', str(tmp_path / 'set'), '--num', '2']
    assert run(*arguments).exit_code == 0
    assert (tmp_path / 'set' / 'instances_val.json').is_file()
    again = run(*arguments)
    assert again.exit_code == 1
    assert 'delete it or name another folder' in again.output


def test_make_data_draws_the_preset_that_is_asked_for(tmp_path):
    arguments = ['--num', '1', '--num-val', '1', '--preset', 'scale']
    result = run('donuts', str(tmp_path / 'set'), *arguments)
    assert result.exit_code == 0
    assert 'disc-19' in (tmp_path / 'set/instances_val.json').read_text()


@pytest.mark.parametrize(
    ('kind', 'preset'), [('shapes', 'scale'), ('donuts', 'easy')]
)
def test_make_data_names_the_presets_of_the_kind(tmp_path, kind, preset):
    out = str(tmp_path / 'set')
    result = run(kind, out, '--preset', preset)
    assert result.exit_code == 1
    own = {'shapes': PRESETS, 'donuts': DONUT_PRESETS}[kind]
    assert str(list(own)) in result.output
    assert not list(tmp_path.iterdir())


def test_the_help_of_make_data_tells_the_true_defaults():
    text = ' '.join(run('--help').output.split())
    for kind, make in (('shapes', make_shapes), ('donuts', make_donuts)):
        defaults = inspect.signature(make).parameters
        assert re.search(rf'num.*{kind} {defaults["num"].default}\b', text)
        assert f'{kind}: {defaults["preset"].default} ' in text
        assert defaults['seed'].default == 0
    # The last of the two is of `make_donuts`.
    assert f'donuts {defaults["num_val"].default}]' in text
    for name, style in (PRESETS | DONUT_PRESETS).items():
        assert f'{name} {style.size}' in text


def test_make_data_without_opencv_names_the_doctor(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv2', None)
    for name in ('shapes', 'coco_writer'):
        module = f'mmdet_retina_plus.synthetic.{name}'
        monkeypatch.delitem(sys.modules, module, False)
    result = run('shapes', str(tmp_path / 'set'))
    assert result.exit_code == 1
    assert 'retina-plus doctor' in result.output


def test_a_killed_make_data_leaves_nothing(tmp_path):
    command = [
        sys.executable,
        *('-c', 'from retina_plus_command import main; main()'),
        *['make-data', 'shapes', 'set', '--num', '100000'],
    ]
    process = subprocess.Popen(command, cwd=tmp_path)
    while not list(tmp_path.glob('*/set/images/*')):
        assert process.poll() is None
    process.terminate()
    assert process.wait() == 1
    assert not list(tmp_path.iterdir())

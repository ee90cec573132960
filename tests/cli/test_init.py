"""`retina-plus init`: a folder of annotations to a config that trains."""

import json
import os

import pytest

from mmdet_retina_plus.cli import init
from mmdet_retina_plus.doctor.findings import Finding
from tests.helpers.case_files import coco_set, write_set
from tests.helpers.commands import invoke

SMALL = ('--model', 'retinanet_r18_fpn_shapes')


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_set(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def unchecked(monkeypatch):
    """Doctor finds nothing."""
    monkeypatch.setattr(init, 'check', lambda *_, **__: [])


def test_doctor_has_nothing_against_what_it_writes(folder):
    output = invoke(init.main, 'train.json', 'images', *SMALL)
    assert 'Next: mim train mmdet my_config.py' in output
    lines = output.partition('Config my_config.py')[2].splitlines()
    assert sum(line.startswith('ok') for line in lines) >= 5
    assert not [x for x in lines if x.startswith(('warning', 'error'))]
    assert {'my_config_train.json', 'my_config_val.json'} <= {*os.listdir()}
    text = (folder / 'my_config.py').read_text()
    assert f'#   retina-plus init train.json images {" ".join(SMALL)}' in text


def test_commands_can_be_pasted(folder, unchecked):
    arguments = ('train.json', 'images', *SMALL, '--out', 'my config.py')
    output = invoke(init.main, *arguments)
    assert "Next: mim train mmdet 'my config.py'" in output
    text = (folder / 'my config.py').read_text()
    assert "#   mim train mmdet 'my config.py'" in text


def test_an_error_of_doctor_ends_with_code_1(folder, monkeypatch):
    found = [Finding('error', 'x', 'y', 'z')]
    monkeypatch.setattr(init, 'check', lambda *_, **__: found)
    arguments = ('train.json', 'images', '--val', 'val.json', *SMALL)
    output = invoke(init.main, *arguments, code=1)
    assert 'Fix the errors' in output and 'Next' not in output
    assert (folder / 'my_config.py').exists()


def test_nothing_is_overwritten_without_a_word(folder, unchecked):
    arguments = ('train.json', 'images', *SMALL)
    old = folder / 'my_config_val.json'
    old.write_text('mine')
    output = invoke(init.main, *arguments, code=1)
    assert 'my_config_val.json exists' in output
    assert old.read_text() == 'mine'
    assert not (folder / 'my_config.py').exists()
    invoke(init.main, *arguments, '--overwrite')
    assert len(json.loads(old.read_text())['images']) == 1


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (('train.json', 'images', '--out', 'train.json'), 'must end in .py'),
        (('train.json', 'images', '--out', 'no/a.py'), 'mkdir -p no`'),
        (('train.json', 'images', '--val', 'train.json'), 'leave out --val'),
        (('train.json', 'images', '--val', 'va.json'), 'no file va.json'),
        (('tran.json', 'images', '--val', 'val.json'), 'no file tran.json'),
        (('train.json', 'images', '--val-images', 'x'), 'without --val'),
        (
            ('train.json', 'images', '--val', 'val.json', '--seed', '0'),
            '--seed does nothing with --val',
        ),
        (('images', 'train.json'), 'annotation file first'),
        (('train.json', 'nowhere'), 'nowhere with images: /'),
        (('train.json', 'image'), 'did you mean images?'),
        (('train.json', 'images', '--model', 'retinamsk'), 'did you mean'),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    folder, unchecked, arguments, said
):
    before = {*os.listdir()}
    output = invoke(init.main, *arguments, code=1)
    assert output.startswith('Error: ') and output.count('\n') == 1
    assert said in output
    assert {*os.listdir()} == before


def test_anchors_are_those_that_anchor_fit_suggests(folder, unchecked):
    coco = coco_set()
    for item in coco['annotations']:
        item.update(bbox=[4, 8, 6, 60], area=360)
    (folder / 'train.json').write_text(json.dumps(coco))
    arguments = ('train.json', 'images', '--val', 'val.json', *SMALL)
    invoke(init.main, *arguments)
    text = (folder / 'my_config.py').read_text()
    assert 'anchor_generator=dict(' in text
    assert "with the base's anchors" in text

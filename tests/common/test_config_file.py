"""Configs with options, and the options that are refused."""

import re

import pytest
from mmengine.config import Config

from mmdet_retina_plus.common.config_file import (
    check_keys,
    check_kinds,
    load_config,
    parse_options,
    read_config,
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text("model = dict(type='RetinaPlus', depth=18)\nseed = 1\n")
    return path


def test_options_change_what_they_name_and_nothing_else(file):
    before = load_config(file).to_dict()
    after = read_config(file, ['model.depth=50']).to_dict()
    assert after['model'].pop('depth') == 50
    assert before['model'].pop('depth') == 18
    assert after == before


def test_of_two_options_for_a_key_the_last_counts(file):
    cfg = read_config(file, ['model.depth=50', 'model.depth=101'])
    assert cfg.model.depth == 101


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('3', 3),
        ('1e-3', 1e-3),
        ('None', None),
        ('True', True),
        ('1,2', [1, 2]),
        ('[1, 2]', [1, 2]),
        ("('x',)", ('x',)),
        ('a=b', 'a=b'),
        ('', ''),
        (' 3 ', 3),
    ],
)
def test_a_value_is_what_it_looks_like(text, value):
    assert parse_options([f'a.b={text}']) == {'a.b': value}


def test_a_key_may_begin_like_an_option_of_the_command_line():
    assert parse_options(['--x=1']) == {'--x': 1}
    assert parse_options([]) == {}


@pytest.mark.parametrize('option', ['model', '', ' ', 'model depth 50'])
def test_what_is_not_key_and_value_is_refused(file, option):
    message = re.escape(f'the option {option!r} is not KEY=VALUE')
    with pytest.raises(ValueError, match=message):
        load_config(file, [option])


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('modle.depth=50', 'has no modle; did you mean model?'),
        ('sed=2', 'has no sed; did you mean seed?'),
        (' model.depth=50', 'has no  model; did you mean model?'),
        ('model =50', 'has no model ; did you mean model?'),
        ('=50', 'has no '),
        ('optimizer=50', 'has no optimizer'),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(file, option, message):
    """mmengine would add it, and nothing read it."""
    with pytest.raises(ValueError) as caught:
        read_config(file, ['model.depth=50', option])
    assert str(caught.value) == f'{option}: the config {message}'


def test_a_key_that_is_new_may_be_added_where_that_is_asked_for(file):
    assert load_config(file, ['optimizer=50']).optimizer == 50
    cfg = Config(dict(model=dict(depth=18)))
    check_keys(cfg, ['model.new=1'])
    assert cfg.to_dict() == dict(model=dict(depth=18))


@pytest.mark.parametrize(
    'text', ['model = dict(', "raise RuntimeError('mine')", '1 / 0']
)
def test_whatever_a_config_raises_names_the_file(file, text):
    file.write_text(text)
    with pytest.raises(ValueError, match=re.escape(str(file))):
        read_config(file)


def test_a_config_and_a_checkpoint_in_each_others_place_are_refused():
    check_kinds('config.py', ['a.pth', 'https://b'])
    with pytest.raises(ValueError, match=r'a\.pth is no config'):
        check_kinds('a.pth', ['config.py'])
    with pytest.raises(ValueError, match=r'b\.yml is a config'):
        check_kinds('config.py', ['a.pth', 'b.yml'])

"""Configs with options, and the options that are refused."""

import re

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger

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
    path.write_text(
        "model = dict(type='RetinaPlus', depth=18)\nseed = 1\nsteps = [1]\n"
    )
    return path


def test_options_change_what_they_name_and_nothing_else(file):
    before = load_config(file).to_dict()
    after = read_config(file, ['model.depth=50']).to_dict()
    assert after['model'].pop('depth') == 50
    assert before['model'].pop('depth') == 18
    assert after == before


def test_environment_variables_are_read_without_a_word(
    file, monkeypatch, capsys
):
    file.write_text("depth = '{{$DEPTH:18}}'\n")
    monkeypatch.setenv('DEPTH', '50')
    # A new logger writes where this test reads.
    monkeypatch.setattr(MMLogger, '_instance_dict', {})
    assert load_config(file).depth == '50'
    assert capsys.readouterr() == ('', '')
    MMLogger.get_current_instance().info('still shown')
    assert 'still shown' in capsys.readouterr().out


def test_of_two_options_for_a_key_the_last_counts(file):
    cfg = read_config(file, ['model.depth=50', 'model.depth=101'])
    assert cfg.model.depth == 101


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
        (
            'modle.depth=50',
            'modle.depth: the config has no modle; did you mean model?',
        ),
        ('sed=2', 'sed: the config has no sed; did you mean seed?'),
        (
            'load_form=a',
            'load_form: the config has no load_form; did you mean load_from?',
        ),
        ('=50', "'' is not a key"),
        (' model.depth=50', "' model.depth' is not a key"),
        ('model.depth =50', "'model.depth ' is not a key"),
        ('model. depth=50', "'model. depth' is not a key"),
        ('model..depth=50', "'model..depth' is not a key"),
        ('seed.depth=50', 'seed.depth: the config has no such key'),
        ('steps.3=50', 'steps.3: the config has no such key'),
        ('steps.0.a=50', 'steps.0.a: the config has no such key'),
        (
            'seed=yes',
            "seed: 'yes' is a string, the config has 1: write",
        ),
        ('steps.0=2*4', "steps.0: '2*4' is a string, the config has 1"),
    ],
)
@pytest.mark.parametrize('read', [load_config, read_config])
def test_a_key_that_nothing_reads_is_refused(file, option, message, read):
    """mmengine would add it."""
    with pytest.raises(ValueError) as caught:
        read(file, ['model.depth=50', option])
    assert str(caught.value).startswith(f'--cfg-options {message}')


@pytest.mark.parametrize(
    'key', ['randomness.seed', 'load_from', 'compile', 'tta_model.type']
)
def test_a_key_that_training_reads_may_be_new(file, key):
    cfg = load_config(file, [f'{key}=x'])
    assert key.split('.')[0] in cfg


@pytest.mark.parametrize('key', ['data_root', 'pipeline.0.type', 'num'])
def test_a_variable_that_was_copied_is_told_by_its_copies(file, key):
    """mmengine changes the variable, and nothing reads that."""
    file.write_text(
        "data_root = 'a/'\npipeline = [dict(type='Load')]\nnum = 3\n"
        'model = dict(num=num)\ntest_dataloader = dict(dataset=dict('
        'data_root=data_root, pipeline=pipeline))\n'
    )
    where = 'model' if key == 'num' else 'test_dataloader.dataset'
    with pytest.raises(ValueError) as caught:
        load_config(file, [f'{key}=9'])
    assert str(caught.value) == (
        f'nothing reads {key}, a variable of the config: change {where}.{key}'
    )
    changed = load_config(file, [f'{where}.{key}=9']).to_dict()
    assert changed != load_config(file).to_dict()


@pytest.mark.parametrize(
    ('key', 'meant'),
    [
        ('model.test_cfg.scor_thr', 'model.test_cfg.score_thr'),
        ('model.test_cfg.SCORE_THR', 'model.test_cfg.score_thr'),
        ('stages.0.warmup_iter', 'stages.0.warmup_iters'),
        ('model.test_cfg.nms_pre', ''),
        ('stages.0.warmup_iters2', ''),
        ('model.test_cfg.score_thr', ''),
        ('model.typ', ''),  # The class says more.
        ('model.new.score', ''),
    ],
)
def test_a_typo_in_a_plain_dict_is_refused(key, meant):
    """Nobody else would find it."""
    test_cfg = dict(score_thr=0.05, max_per_img=100)
    cfg = Config(
        dict(
            model=dict(type='RetinaPlus', test_cfg=test_cfg),
            stages=[dict(warmup_iters=1)],
        )
    )
    if not meant:
        check_keys(cfg, [key])
        return
    with pytest.raises(ValueError, match=f'did you mean {re.escape(meant)}'):
        check_keys(cfg, [key])


def test_checking_keys_leaves_the_config_as_it_is():
    cfg = Config(dict(model=dict(depth=18)))
    check_keys(cfg, ['model.new'])
    assert cfg.to_dict() == dict(model=dict(depth=18))


@pytest.mark.parametrize('text', ['[1,', "'x", '{a: 1}'])
def test_a_value_that_cannot_be_read_names_its_option(file, text):
    with pytest.raises(ValueError) as caught:
        read_config(file, [f'model.depth={text}'])
    assert str(caught.value).startswith(f'model.depth={text}: ')


def test_values_arrive_in_the_config_as_python_reads_them(file):
    """mmengine's action drops blanks and quotes."""
    classes, folder = ('traffic light', 'stop sign'), 'my data/images = all'
    cfg = read_config(
        file, [f'model.classes={classes}', f'model.folder={folder}']
    )
    assert (cfg.model.classes, cfg.model.folder) == (classes, folder)


@pytest.mark.parametrize(
    'text', ['model = dict(', "raise RuntimeError('mine')", '1 / 0']
)
def test_whatever_a_config_raises_names_the_file(file, text):
    file.write_text(text)
    with pytest.raises(ValueError, match=re.escape(str(file))):
        read_config(file)


def test_a_config_and_a_checkpoint_in_each_others_place_are_refused():
    check_kinds('config.py', ['https://a.pth', 'https://b'])
    with pytest.raises(ValueError, match=r'a\.pth is not a config'):
        check_kinds('a.pth', ['config.py'])
    with pytest.raises(ValueError, match=r'b\.yml is a config'):
        check_kinds('config.py', ['https://a.pth', 'b.yml'])

"""Variables that a config changes after its bases have read them."""

import pytest
from mmengine.config import Config

from mmdet_retina_plus.doctor.hook_settings import check_mixing
from mmdet_retina_plus.doctor.inheritance import check_lost, check_variables
from mmdet_retina_plus.doctor.loader_settings import (
    check_learning_rate,
    check_small_batch,
)

BASE = """
data_root = 'old/'
batch = 4
train_pipeline = [dict(type='LoadImageFromFile')]
train_dataloader = dict(
    batch_size=2,
    dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root))
train_cfg = dict(max_epochs=12)
max_epochs = 12
model = dict(data_preprocessor=dict(mean=[1.0]))
optim_wrapper = dict(optimizer=dict(lr=0.01))
auto_scale_lr = dict(base_batch_size=16)
visualizer = dict(name='visualizer')
"""
STEPS = "[dict(type='LoadImageFromFile'), dict(type='RandomFlip')]"
LOADER = 'train_dataloader = dict(dataset=dict(pipeline=train_pipeline))'


@pytest.fixture
def inherit(tmp_path):
    """A config with a base, and optionally another config in between."""

    def write(*texts):
        (tmp_path / '0.py').write_text(BASE)
        for number, text in enumerate(texts, 1):
            path = tmp_path / f'{number}.py'
            path.write_text(f"_base_ = '{number - 1}.py'\n{text}\n")
        return str(path), Config.fromfile(path).to_dict()

    return write


@pytest.mark.parametrize(
    ('text', 'name', 'keys'),
    [
        (
            f'train_pipeline = {STEPS}',
            'train_pipeline',
            ['train_dataloader.dataset.pipeline'],
        ),
        (
            "train_pipeline = [*_base_.train_pipeline, dict(type='Pad')]\n"
            "train_pipeline.insert(1, dict(type='RandomFlip'))",
            'train_pipeline',
            ['train_dataloader.dataset.pipeline'],
        ),
        (
            "data_root = 'new/'",
            'data_root',
            [
                'train_dataloader.dataset.data_root',
                'val_dataloader.dataset.data_root',
            ],
        ),
        ('max_epochs = 24', 'max_epochs', ['train_cfg.max_epochs']),
        ('lr = 0.001', 'lr', ['optim_wrapper.optimizer.lr']),
        ('batch_size = 8', 'batch_size', ['train_dataloader.batch_size']),
        (
            'data_preprocessor = dict(mean=[0.0])',
            'data_preprocessor',
            ['model.data_preprocessor'],
        ),
    ],
)
def test_a_variable_that_only_the_base_used_changes_nothing(
    inherit, text, name, keys
):
    (finding,) = check_variables(*inherit(text))
    level = 'error' if name in ('train_pipeline', 'data_root') else 'warning'
    assert (finding.level, finding.subject) == (level, name)
    assert finding.fix == ' and '.join(f'{key}={name}' for key in keys)


@pytest.mark.parametrize(
    'text',
    [
        f'train_pipeline = {STEPS}\n{LOADER}',
        f'train_pipeline = {STEPS}\ntrain_dataloader = _base_.'
        'train_dataloader\n'
        "train_dataloader['dataset']['pipeline'] = train_pipeline",
        # The same value, or one that no setting keeps.
        "data_root = 'old/'",
        'batch = 8',
        'lr = 0.01',
        "name = 'my run'",
        'lr = 0.001\noptim_wrapper = dict(optimizer=dict(lr=lr))',
        'mine = 3',
        f'train_dataloader = dict(dataset=dict(pipeline={STEPS}))\n'
        f'train_pipeline = {STEPS}',
    ],
)
def test_a_variable_that_is_used_or_that_nothing_kept_is_fine(inherit, text):
    assert check_variables(*inherit(text)) == []


TIMED = """
base_lr = 0.004
epochs = 300
end = 20
optim_wrapper = dict(optimizer=dict(lr=base_lr))
custom_hooks = [dict(type='Switch', switch_epoch=epochs - end)]
"""


@pytest.mark.parametrize(
    ('text', 'fix'),
    [
        ('base_lr = 0.001', 'optim_wrapper.optimizer.lr=base_lr'),
        ('end = 10', 'custom_hooks.0.switch_epoch=epochs - end'),
        # Values that arrive, or that the config sets itself.
        ('base_lr = 0.004', ''),
        ('end = 10\ncustom_hooks = []', ''),
        ('base_lr = 0.001\noptim_wrapper = dict(optimizer=dict(lr=0.1))', ''),
        (
            'base_lr = 0.001\noptim_wrapper = dict(optimizer=dict(lr=0.004))',
            '',
        ),
    ],
)
def test_a_number_from_which_the_base_made_others(tmp_path, text, fix):
    (tmp_path / '0.py').write_text(TIMED)
    path = tmp_path / '1.py'
    # The config reads both numbers itself.
    own = 'scheduler = dict(begin=end, eta_min=base_lr)'
    path.write_text(
        f"_base_ = '0.py'\nend = 20\nbase_lr = 0.004\n{text}\n{own}"
    )
    cfg = Config.fromfile(path).to_dict()
    assert [x.fix for x in check_variables(str(path), cfg)] == [fix] * bool(
        fix
    )


def test_a_variable_of_the_environment_may_name_the_base(tmp_path):
    (tmp_path / '0.py').write_text(BASE)
    path = tmp_path / '1.py'
    path.write_text("_base_ = '{{$MY_BASE:0.py}}'\ndata_root = 'new/'\n")
    cfg = Config.fromfile(path).to_dict()
    (finding,) = check_variables(str(path), cfg)
    assert finding.subject == 'data_root'


def test_a_config_without_base_has_variables_of_its_own(inherit, tmp_path):
    inherit('')
    path = tmp_path / '0.py'
    assert check_variables(str(path), Config.fromfile(path).to_dict()) == []


def test_a_rate_for_other_batches_may_be_scaled_or_declared(inherit):
    (finding,) = check_learning_rate(*inherit('mine = 3'))
    assert 'train on 8' in finding.fix
    for fix in finding.fix.split(', or ')[0], finding.fix.split()[2]:
        key, _, value = fix.partition('=')
        file, cfg = inherit('mine = 3')
        cfg['auto_scale_lr'][key.removeprefix('auto_scale_lr.')] = eval(value)
        assert check_learning_rate(file, cfg) == []


@pytest.mark.parametrize(('rate', 'told'), [(0.01, 1), (0.00125, 0)])
def test_a_config_of_one_file_may_have_scaled_its_rate(tmp_path, rate, told):
    (tmp_path / 'x.py').touch()
    cfg = {
        'auto_scale_lr': {'base_batch_size': 16},
        'train_dataloader': {'batch_size': 2},
        'optim_wrapper': {'optimizer': {'type': 'SGD', 'lr': rate}},
    }
    assert len(check_learning_rate(str(tmp_path / 'x.py'), cfg)) == told


@pytest.mark.parametrize('above', [(), ('mine = 3',)])
def test_a_rate_that_the_config_set_anew_is_meant(inherit, above):
    own = 'optim_wrapper = dict(optimizer=dict(lr=0.00125))'
    assert check_learning_rate(*inherit(own, *above)) == []
    size = 'auto_scale_lr = dict(base_batch_size=8)'
    assert check_learning_rate(*inherit(f'{own}\n{size}', *above)) != []


@pytest.mark.parametrize(
    ('lr', 'batch', 'scaling', 'right'),
    [
        (0.02, 2, {}, 'lr=0.0025'),
        (0.02, 4, {}, 'lr=0.005'),
        (0.02, 2, {'enable': True, 'base_batch_size': 2}, 'lr=0.0025'),
        (0.02, 8, {}, ''),
        (0.01, 2, {}, ''),
        # Declared, scaled.
        (0.02, 2, {'base_batch_size': 2}, ''),
        (0.02, 2, {'enable': True, 'base_batch_size': 16}, ''),
    ],
)
def test_a_rate_of_large_batches_for_a_small_one(
    tmp_path, lr, batch, scaling, right
):
    (tmp_path / 'x.py').touch()
    cfg = {
        'auto_scale_lr': scaling,
        'train_dataloader': {'batch_size': batch},
        'optim_wrapper': {'optimizer': {'type': 'SGD', 'lr': lr}},
    }
    found = check_small_batch(str(tmp_path / 'x.py'), cfg)
    assert [right in x.fix for x in found] == [True] * bool(right)
    cfg['optim_wrapper']['accumulative_counts'] = 8
    assert check_small_batch(str(tmp_path / 'x.py'), cfg) == []


def test_scaling_by_one(inherit):
    scaling = 'auto_scale_lr = dict(enable=True, base_batch_size=2)'
    (finding,) = check_small_batch(*inherit(scaling))
    assert finding.fix == 'auto_scale_lr.base_batch_size=16'
    own = 'optim_wrapper = dict(optimizer=dict(lr=0.00125))'
    assert check_small_batch(*inherit(f'{scaling}\n{own}')) == []


@pytest.mark.parametrize(
    ('lr', 'told'), [(0.00125, 1), (0.01, 0), (0.005, 0), (0.0001, 0)]
)
def test_a_rate_that_was_scaled_by_hand_is_not_scaled_again(inherit, lr, told):
    found = check_learning_rate(
        *inherit(
            'auto_scale_lr = dict(enable=True)',
            f'optim_wrapper = dict(optimizer=dict(lr={lr}))',
        )
    )
    assert [x.fix for x in found] == told * [
        'auto_scale_lr.enable=False, or optim_wrapper.optimizer.lr=0.01'
    ]


@pytest.mark.parametrize(
    ('options', 'rate', 'tuning', 'told'),
    [
        ("type='SGD'", 0.00125, '', 1),
        ("type='SGD'", 0.001, '', 0),
        ("type='AdamW'", 0.00125, '', 0),
        ("type='SGD'", 0.00125, "load_from = 'x.pth'", 0),
    ],
)
def test_a_rate_of_its_own_is_not_scaled_by_hand(
    inherit, options, rate, tuning, told
):
    wrapper = f'optim_wrapper = dict(optimizer=dict({options}, lr={rate}))'
    scaling = 'auto_scale_lr = dict(enable=True)'
    base = "optim_wrapper = dict(optimizer=dict(type='SGD'))"
    given = inherit(base, f'{wrapper}\n{scaling}\n{tuning}')
    assert len(check_learning_rate(*given)) == told


HOOKS = "custom_hooks = [dict(type='EMAHook'), dict(type='SyncNormHook')]"
CLIPPED = 'optim_wrapper = dict(clip_grad=dict(max_norm=0.1))'
MINE = "dict(type='NumClassCheckHook')"


@pytest.mark.parametrize(
    ('texts', 'lost'),
    [
        ([HOOKS, f'custom_hooks = [{MINE}]'], 'EMAHook, SyncNormHook'),
        ([HOOKS, f'custom_hooks = [{MINE}]', 'x = 3'], 'EMAHook'),
        ([HOOKS, f'custom_hooks = [*_base_.custom_hooks, {MINE}]'], ''),
        ([HOOKS, f'custom_hooks = [_base_.custom_hooks[1], {MINE}]'], ''),
        ([HOOKS, 'custom_hooks = []'], ''),
        ([HOOKS, 'x = 3'], ''),
        (
            [
                CLIPPED,
                'optim_wrapper = dict(_delete_=True, optimizer=dict(lr=0.1))',
            ],
            'clip_grad',
        ),
        (
            [
                CLIPPED,
                "optim_wrapper = dict(_delete_=True, type='OptimWrapper', "
                "optimizer=dict(type='AdamW', lr=0.1))",
            ],
            '',
        ),
        ([CLIPPED, 'optim_wrapper = dict(clip_grad=None)'], ''),
    ],
)
def test_what_a_list_or_a_deletion_takes_from_the_base(inherit, texts, lost):
    found = check_lost(*inherit(*texts))
    assert [lost in x.message for x in found] == [True] * bool(lost)


def of_yolox(steps, *hooks, detector='YOLOX'):
    dataset = {'pipeline': [{'type': x} for x in steps]}
    return {
        'model': {'type': detector},
        'train_dataloader': {'dataset': dataset},
        'custom_hooks': list(hooks),
    }


SWITCH = {'type': 'YOLOXModeSwitchHook'}


@pytest.mark.parametrize(
    ('cfg', 'fix'),
    [
        (of_yolox(['Mosaic']), 'YOLOXModeSwitchHook'),
        (of_yolox(['CachedMosaic'], detector='RTMDet'), 'PipelineSwitchHook'),
        (of_yolox(['YOLOXMixUp'], SWITCH), "'YOLOXMixUp')"),
        (of_yolox(['Mosaic', 'MixUp'], SWITCH), ''),
        (of_yolox(['CachedMosaic'], {'switch_pipeline': []}), ''),
        (of_yolox(['RandomFlip']), ''),
        (of_yolox(['Mosaic'], detector='FCOS'), ''),
    ],
)
def test_images_that_are_mixed_until_training_ends(cfg, fix):
    found = check_mixing(cfg)
    assert [fix in x.fix for x in found] == [True] * bool(fix)

"""Implausible and plausible settings of the optimizer."""

import pytest
from torch import nn

from mmdet_retina_plus.doctor import optimizer_settings, paramwise_settings
from mmdet_retina_plus.doctor.optimizer_settings import (
    check_accumulation,
    check_averages,
    check_scaling,
)
from mmdet_retina_plus.doctor.paramwise_settings import (
    check_multipliers,
    check_trained,
)
from mmdet_retina_plus.doctor.reach import hooks_of
from mmdet_retina_plus.doctor.run_parts import check_run

CHECKS = (*optimizer_settings.CHECKS, *paramwise_settings.CHECKS)
SGD = {'type': 'SGD', 'lr': 0.01, 'momentum': 0.9, 'weight_decay': 0.0001}
ADAMW = {'type': 'AdamW', 'lr': 0.0001, 'weight_decay': 0.05}


def findings(optimizer=SGD, hooks=(), **wrapper):
    cfg = {
        'optim_wrapper': {'optimizer': optimizer, **wrapper},
        'custom_hooks': list(hooks),
    }
    return [finding for check in CHECKS for finding in check(cfg)]


AMP = {'type': 'AmpOptimWrapper'}
KEY = 'optim_wrapper.optimizer'
FAULTS = {
    'no rate': (
        {'optimizer': {'type': 'SGD'}},
        'SGD uses 0.001',
        f'{KEY}.lr=0.01',
    ),
    'a weight decay of 1': (
        {'optimizer': {**SGD, 'weight_decay': 1.0}},
        'shrinks all weights',
        f'{KEY}.weight_decay=0.0001',
    ),
    "AdamW's for SGD": (
        {'optimizer': {**SGD, 'weight_decay': 0.1}},
        '1,000 times the usual',
        f'{KEY}.weight_decay=0.0001',
    ),
    'a momentum of 9': (
        {'optimizer': {**SGD, 'momentum': 9}},
        'not in [0, 1)',
        f'{KEY}.momentum=0.9',
    ),
    'a type that is none': (
        {**AMP, 'dtype': 'float61'},
        "dtype='float61'",
        "optim_wrapper.dtype='float16'",
    ),
    'a scale that is none': (
        {**AMP, 'loss_scale': 'dynmic'},
        "loss_scale='dynmic'",
        "optim_wrapper.loss_scale='dynamic'",
    ),
    'a momentum of nearly 1': (
        {'optimizer': {**SGD, 'momentum': 0.9999}},
        'averages 10,000 gradients',
        f'{KEY}.momentum=0.9',
    ),
    'no momentum': (
        {'optimizer': {'type': 'SGD', 'lr': 0.01}},
        'SGD without momentum',
        f'{KEY}.momentum=0.9',
    ),
    "SGD's rate for AdamW": (
        {'optimizer': {'type': 'AdamW', 'lr': 0.01}},
        'too high for AdamW',
        f'{KEY}.lr=0.0001',
    ),
    'more than gradients': (
        {'optimizer': {'type': 'AdamW', 'lr': 0.0001, 'eps': 0.1}},
        'larger than most gradients',
        f'{KEY}.eps=1e-8',
    ),
    'a head that never learns': (
        {'paramwise_cfg': {'custom_keys': {'bbox_head': {'lr_mult': 0}}}},
        'bbox_head keeps its initial weights',
        'custom_keys.bbox_head.lr_mult=1.0',
    ),
    'a backbone that learns faster': (
        {'paramwise_cfg': {'custom_keys': {'backbone': {'lr_mult': 10}}}},
        'faster than the heads',
        'custom_keys.backbone.lr_mult=0.1',
    ),
    'an average of the newest': (
        {'hooks': [{'type': 'EMAHook', 'momentum': 0.9998}]},
        'nothing is averaged',
        'momentum=0.0002',
    ),
}


@pytest.mark.parametrize('name', FAULTS)
def test_a_setting_that_cannot_be_meant(name):
    settings, message, fix = FAULTS[name]
    (finding,) = findings(**settings)
    assert message in finding.message
    assert fix in finding.fix


@pytest.mark.parametrize(
    'settings',
    [
        {},
        {'optimizer': ADAMW},
        {**AMP, 'dtype': 'bfloat16', 'loss_scale': 512.0},
        {'hooks': [{'type': 'EMAHook', 'momentum': 0.0002}]},
    ],
)
def test_usual_settings_raise_no_alarm(settings):
    assert findings(**settings) == []


def test_gradients_that_are_gathered_for_too_long():
    cfg = {'optim_wrapper': {'accumulative_counts': 1000}}
    (finding,) = check_accumulation(cfg, 1200)
    assert 'leaves 2 steps of the 1200' in finding.message
    assert finding.fix == 'optim_wrapper.accumulative_counts=12'
    assert check_accumulation(cfg, 100_000) == []


def model(train=True, backbone=True):
    parts = nn.ModuleDict({'backbone': nn.Linear(1, 1), 'h': nn.Linear(1, 1)})
    parts.backbone = parts['backbone']
    parts.requires_grad_(train)
    parts.backbone.requires_grad_(train and backbone)
    return parts


def test_what_trains():
    cfg = {'optim_wrapper': {'optimizer': SGD}, 'load_from': 'x.pth'}
    assert check_trained(cfg, model(), None) == []
    (finding,) = check_trained(cfg, model(train=False), None)
    assert finding.level == 'error'
    (finding,) = check_trained(cfg, model(backbone=False), None)
    assert finding.level == 'warning'
    assert 'freezes the whole backbone' in finding.message


def test_a_multiplier_of_a_name_with_dots_can_be_pasted():
    others = {'norm': {'decay_mult': 0.0}}
    keys = {'backbone.layer4': {'lr_mult': 10, 'decay_mult': 1}, **others}
    (finding,) = findings(paramwise_cfg={'custom_keys': keys})
    key, _, fix = finding.fix.partition('=')
    assert key == 'optim_wrapper.paramwise_cfg.custom_keys'
    right = {'backbone.layer4': {'lr_mult': 0.1, 'decay_mult': 1}, **others}
    assert eval(fix) == right


def test_hooks_in_parentheses_are_looked_at():
    hooks = ({'type': 'EMAHook', 'momentum': 0.9},)
    assert len(check_averages({'custom_hooks': hooks})) == 1
    assert hooks_of({'custom_hooks': hooks}) == {'custom_hooks.0': hooks[0]}


def test_a_wrapper_without_an_optimizer():
    cfg = {
        'train_cfg': {'type': 'EpochBasedTrainLoop', 'max_epochs': 12},
        'optim_wrapper': {'type': 'OptimWrapper'},
    }
    (finding,) = check_run(cfg, model(), None)
    assert finding.level == 'error'
    assert finding.fix.startswith('optim_wrapper.optimizer=dict(')
    assert check_multipliers(cfg) == []


def test_a_scaling_without_its_batch_size():
    cfg = {'auto_scale_lr': {'enable': True}}
    assert check_scaling(cfg)[0].level == 'error'
    cfg['auto_scale_lr']['base_batch_size'] = 16
    assert check_scaling(cfg) == []


@pytest.mark.parametrize(
    ('lr', 'decay', 'level'),
    [(0.01, 0.5, 'error'), (0.001, 0.1, 'warning')],
)
def test_weights_that_vanish_are_an_error(lr, decay, level):
    (finding,) = findings({**SGD, 'lr': lr, 'weight_decay': decay})
    assert finding.level == level


@pytest.mark.parametrize(
    ('optimizer', 'model', 'told'),
    [
        ('SGD', nn.MultiheadAttention(4, 1), 1),
        ('AdamW', nn.MultiheadAttention(4, 1), 0),
        ('SGD', nn.Conv2d(3, 3, 1), 0),
    ],
)
def test_an_optimizer_that_does_not_train_transformers(optimizer, model, told):
    cfg = {'optim_wrapper': {'optimizer': {'type': optimizer}}}
    assert len(optimizer_settings.check_attention(cfg, model)) == told

"""Hooks that never act in 12 epochs of 100 iterations."""

import pytest

from mmdet_retina_plus.doctor.reach import check_reach

EPOCHS = {'type': 'EpochBasedTrainLoop', 'max_epochs': 12}
ITERATIONS = {
    'type': 'IterBasedTrainLoop',
    'max_iters': 1200,
    'val_interval': 100,
}


def findings(*hooks, loop=EPOCHS):
    cfg = {'train_cfg': loop, 'custom_hooks': list(hooks)}
    return check_reach(cfg, 100)


def saving(**options):
    return {'type': 'CheckpointHook', **options}


FAULTS = {
    'an average that never begins': (
        {'type': 'EMAHook', 'begin_epoch': 20},
        EPOCHS,
        'begin_epoch=20 of EMAHook comes after the 12 epochs',
        'custom_hooks.0.begin_epoch=6',
    ),
    'a pipeline that never changes': (
        {'type': 'PipelineSwitchHook', 'switch_epoch': 10},
        ITERATIONS,
        'counts epochs, but training counts 1200 iterations: it never acts',
        'custom_hooks.0.switch_epoch=0',
    ),
    'an average that stays where it began': (
        {'type': 'EMAHook', 'momentum': 0.0001},
        EPOCHS,
        'is 89% initial weights',
        'custom_hooks.0.momentum=0.008',
    ),
    'mosaics that never come': (
        {'type': 'YOLOXModeSwitchHook', 'num_last_epochs': 15},
        EPOCHS,
        'no mosaic is made',
        'custom_hooks.0.num_last_epochs=1',
    ),
    'the last checkpoint alone': (
        saving(interval=20),
        EPOCHS,
        'interval=20 is more than the 12 epochs of training: only the last',
        'custom_hooks.0.interval=1',
    ),
    'no checkpoint': (
        saving(interval=20, save_last=False),
        EPOCHS,
        'nothing is saved',
        'custom_hooks.0.interval=1',
    ),
    'checkpoints of epochs': (
        saving(interval=1),
        ITERATIONS,
        'counts epochs, but training counts 1200 iterations',
        'custom_hooks.0.by_epoch=False custom_hooks.0.interval=120',
    ),
    'a checkpoint an iteration': (
        saving(interval=1, by_epoch=False),
        EPOCHS,
        'saves 1,200 checkpoints and deletes none',
        'custom_hooks.0.max_keep_ckpts=3',
    ),
    'no log': (
        {'type': 'LoggerHook', 'interval': 5000},
        ITERATIONS,
        'no loss is logged',
        'custom_hooks.0.interval=60',
    ),
    'a stop by AP': (
        {'type': 'EarlyStoppingHook', 'monitor': 'coco/bbox_mAP'},
        EPOCHS,
        'min_delta=0.1: only a larger rise of coco/bbox_mAP',
        'custom_hooks.0.min_delta=0.001',
    ),
}


@pytest.mark.parametrize('name', FAULTS)
def test_a_hook_that_does_not_do_what_it_is_for(name):
    hook, loop, message, fix = FAULTS[name]
    (finding,) = findings(hook, loop=loop)
    assert message in finding.message
    assert finding.fix == fix


@pytest.mark.parametrize(
    ('loop', 'message'),
    [
        ({**EPOCHS, 'dynamic_intervals': [(280, 1)]}, 'begin at 280'),
        (
            {'type': 'IterBasedTrainLoop', 'max_iters': 700},
            'has val_interval=1000',
        ),
        ({**ITERATIONS, 'val_interval': 1}, '1200 validations in 1200'),
    ],
)
def test_a_validation_that_never_comes(loop, message):
    (finding,) = findings(loop=loop)
    assert message in finding.message


@pytest.mark.parametrize(
    ('hook', 'loop'),
    [
        (saving(interval=12), EPOCHS),
        (saving(interval=1, by_epoch=False, max_keep_ckpts=2), EPOCHS),
        (saving(interval=1200, by_epoch=False), ITERATIONS),
        ({'type': 'LoggerHook', 'interval': 5000}, EPOCHS),
        ({'type': 'EMAHook', 'momentum': 0.002}, EPOCHS),
        (
            {'type': 'EMAHook', 'ema_type': 'ExpMomentumEMA'},
            EPOCHS,
        ),
        ({'type': 'EMAHook', 'momentum': 0.01, 'begin_epoch': 6}, EPOCHS),
    ],
)
def test_a_usual_hook_raises_no_alarm(hook, loop):
    assert findings(hook, loop=loop) == []

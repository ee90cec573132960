"""Schedules against the length of training, 12 epochs of 100 iterations."""

import pytest

from mmdet_retina_plus.doctor.rates import check_rates
from mmdet_retina_plus.doctor.schedules import check_plateaus, check_schedules

EPOCHS = {'max_epochs': 12}
ITERATIONS = {'max_iters': 1200}


def findings(*schedules, loop=EPOCHS, batches=100):
    cfg = {
        'train_cfg': loop,
        'param_scheduler': list(schedules),
        'optim_wrapper': {'optimizer': {'type': 'SGD', 'lr': 0.01}},
    }
    return check_schedules(cfg, batches) or check_rates(cfg, batches)


def cosine(**options):
    return {'type': 'CosineAnnealingLR', **options}


def steps(**options):
    return {'type': 'MultiStepLR', **options}


def warm_up(**options):
    return {'type': 'LinearLR', 'start_factor': 0.001, **options}


BY_ITERATION = {'by_epoch': False}
FAULTS = {
    'a cosine that rises again': (
        cosine(T_max=3, end=12),
        'the learning rate rises again',
        'param_scheduler.0.T_max=12 param_scheduler.0.end=12',
    ),
    'a cosine that hardly falls': (
        cosine(T_max=100),
        'ends at 96% of the learning rate',
        'param_scheduler.0.T_max=12 param_scheduler.0.end=12',
    ),
    'a cosine of iterations that hardly falls': (
        cosine(T_max=90000, end=90000, **BY_ITERATION),
        'longer than training (1200 iterations)',
        'param_scheduler.0.T_max=1200 param_scheduler.0.end=1200',
    ),
    'a cosine that ends early': (
        cosine(T_max=3, end=3),
        'ends after 3 of 12 epochs',
        'param_scheduler.0.T_max=12 param_scheduler.0.end=12',
    ),
    'a cosine to a higher rate': (
        cosine(T_max=12, eta_min=0.1),
        'eta_min=0.1',
        'eta_min=0.0001',
    ),
    'a polynomial that hardly falls': (
        {'type': 'PolyLR', 'end': 90000, **BY_ITERATION},
        'longer than training (1200 iterations)',
        'end=1200',
    ),
    'all milestones too late': (
        steps(milestones=[16, 22]),
        'never falls',
        'milestones=[8, 11]',
    ),
    'a milestone too late': (
        steps(milestones=[8, 16]),
        'milestone 16 of MultiStepLR comes after the 12 epochs',
        'milestones=[8, 11]',
    ),
    'a milestone after the end': (
        steps(milestones=[8, 11], end=10),
        'milestone 11 of MultiStepLR comes after its end=10',
        'end=12',
    ),
    'milestones in epochs that count iterations': (
        steps(milestones=[8, 11], **BY_ITERATION),
        'looks like epochs',
        'by_epoch=True',
    ),
    'steps that raise the rate': (
        steps(milestones=[8], gamma=10),
        'raises the learning rate',
        'gamma=0.1',
    ),
    'a step too long': (
        {'type': 'StepLR', 'step_size': 12},
        'never falls',
        'step_size=4',
    ),
    'a warm-up of epochs': (
        warm_up(end=500),
        'warm-up of 500 epochs is longer than training',
        'param_scheduler.0.end=60 param_scheduler.0.by_epoch=False',
    ),
    'a warm-up of more iterations than there are': (
        warm_up(end=4800, **BY_ITERATION),
        'longer than training, which has 1200: the learning rate reaches 25%',
        'param_scheduler.0.end=60',
    ),
    'a warm-up without end': (warm_up(), 'no end', 'end=60'),
    'a schedule after the end': (
        steps(milestones=[30], begin=24),
        'begins after the 12 epochs',
        'begin=0',
    ),
}


@pytest.mark.parametrize('name', FAULTS)
def test_a_schedule_that_cannot_be_meant(name):
    schedule, message, fix = FAULTS[name]
    (finding,) = findings(schedule)
    assert finding.level == 'warning'
    assert message in finding.message
    assert fix in finding.fix


def test_epochs_where_training_counts_iterations():
    (finding,) = findings(steps(milestones=[8]), loop=ITERATIONS)
    assert 'counts epochs' in finding.message


@pytest.mark.parametrize(
    ('schedule', 'right'),
    [
        (
            steps(milestones=[8, 11], gamma=0.1),
            steps(milestones=[800, 1100], gamma=0.1, **BY_ITERATION),
        ),
        (
            steps(begin=0, end=24, milestones=[16, 22], by_epoch=True),
            steps(begin=0, end=1200, milestones=[800, 1100], **BY_ITERATION),
        ),
        (cosine(begin=1, T_max=12), cosine(begin=100, T_max=1200)),
        (warm_up(end=1), warm_up(end=100)),
    ],
)
def test_epochs_are_converted_to_iterations(schedule, right):
    (finding,) = findings(schedule, loop=ITERATIONS)
    assert eval(finding.fix) == right | BY_ITERATION
    assert findings(eval(finding.fix), loop=ITERATIONS) == []


FINE = {
    'steps': [steps(milestones=[8, 11], end=12)],
    'steps of iterations': [steps(milestones=[800, 1100], **BY_ITERATION)],
    'a warm-up and steps': [
        warm_up(end=500, **BY_ITERATION),
        steps(milestones=[8, 11]),
    ],
    'a warm-up and a cosine': [
        warm_up(end=2),
        cosine(T_max=10, begin=2, end=12),
    ],
    'a cosine over all': [cosine(T_max=12, convert_to_iter_based=True)],
    'a cosine and a constant': [
        cosine(T_max=7, begin=1, end=8),
        {'type': 'ConstantLR', 'factor': 1, 'begin': 8, 'end': 12},
    ],
    'a cosine without end, which the runner sets': [cosine()],
    'a cosine in the second half': [cosine(T_max=6, begin=6, end=12)],
    'a momentum': [{'type': 'CosineAnnealingMomentum', 'T_max': 1}],
    'steps whose last one lasts long': [steps(milestones=[3, 7])],
    'a decay by a factor': [{'type': 'ExponentialLR', 'gamma': 0.9}],
}


@pytest.mark.parametrize('name', FINE)
def test_a_usual_schedule_raises_no_alarm(name):
    assert findings(*FINE[name]) == []


def test_iterations_are_not_compared_where_the_data_is_missing():
    late = steps(milestones=[90000], **BY_ITERATION)
    assert findings(late, batches=None) == []


RATES = {
    'a warm-up of half the rate': (
        [{'type': 'ConstantLR', 'factor': 0.5, 'end': 90000, **BY_ITERATION}],
        'reaches at most 50% of lr=0.01 in the 1200 iterations',
    ),
    'a warm-up of nearly all': (
        [warm_up(end=1000, **BY_ITERATION)],
        'its highest value only after 75% of training',
    ),
    'steps that come at once': (
        [steps(milestones=[1, 2], gamma=0.1)],
        'at most 1% of its highest value in 83% of training',
    ),
    'steps of half the training': (
        [steps(milestones=[4, 5], gamma=0.1)],
        'at most 1% of its highest value in 58% of training',
    ),
    'a second warm-up': (
        [
            steps(milestones=[3], gamma=0.5),
            {'type': 'LinearLR', 'start_factor': 0.1, 'begin': 6, 'end': 9},
        ],
        'falls to 5% of lr=0.01 and rises again to 50%',
    ),
    'a decay by nothing': (
        [{'type': 'ExponentialLR', 'gamma': 0.9999}],
        'ends at 100% of its highest value',
    ),
}


@pytest.mark.parametrize('name', RATES)
def test_a_rate_that_cannot_be_meant(name):
    schedules, message = RATES[name]
    (finding,) = findings(*schedules)
    assert message in finding.message
    key, _, fix = finding.fix.partition('=')
    assert key == 'param_scheduler'
    assert findings(*eval(fix)) == []


def test_a_schedule_that_stops_training():
    cycle = {'type': 'OneCycleLR', 'eta_max': 0.01, **BY_ITERATION}
    (finding,) = findings({**cycle, 'total_steps': 100})
    assert finding.level == 'error'
    assert 'training stops: step' in finding.message
    assert findings({**cycle, 'total_steps': 1200}) == []
    (finding,) = findings({**cycle, 'total_steps': 90000})
    assert finding.fix == 'param_scheduler.0.total_steps=1200'


def test_a_factor_an_iteration_is_that_of_all_of_long_training():
    decay = {'type': 'ExponentialLR', **BY_ITERATION}
    assert findings({**decay, 'gamma': 0.99997}, batches=7330) == []
    (finding,) = findings({**decay, 'gamma': 0.999}, batches=7330)
    assert 'at most 1% of its highest value in 95%' in finding.message


def test_long_training_is_simulated_as_short():
    schedule = [warm_up(end=80_000, **BY_ITERATION), steps(milestones=[11])]
    (finding,) = findings(*schedule, batches=7330)
    assert 'after 82% of training' in finding.message


def test_milestones_of_epochs_where_training_counts_iterations():
    given = steps(milestones=[8, 11], **BY_ITERATION)
    (finding,) = findings(given, loop=ITERATIONS)
    assert 'milestones 8, 11 of 1200 iterations look like' in finding.message
    assert finding.fix == 'param_scheduler.0.milestones=[800, 1100]'
    given = steps(milestones=[800, 1100], **BY_ITERATION)
    assert findings(given, loop=ITERATIONS) == []


@pytest.mark.parametrize(
    ('loop', 'options', 'fix'),
    [
        ({'max_epochs': 12, 'val_interval': 4}, {}, '0.patience=1'),
        ({'max_iters': 900, 'val_interval': 30}, {'begin': 3}, '0.begin=0'),
        ({'max_iters': 900, 'val_interval': 30}, {'patience': 2}, ''),
    ],
)
def test_a_plateau_counts_validations(loop, options, fix):
    schedule = {'type': 'ReduceOnPlateauLR', **options}
    assert findings(schedule, loop=loop) == []
    cfg = {'train_cfg': loop, 'param_scheduler': [schedule]}
    found = check_plateaus(cfg)
    assert [x.fix for x in found] == [f'param_scheduler.{fix}'] * bool(fix)


def test_schedules_of_a_longer_training_are_shortened_together():
    yolox = [
        {'type': 'mmdet.QuadraticWarmupLR', 'by_epoch': True, 'end': 5},
        cosine(eta_min=0.0005, begin=5, T_max=285, end=285),
        {'type': 'ConstantLR', 'factor': 1, 'begin': 285, 'end': 300},
    ]
    (finding,) = findings(*yolox)
    assert 'ConstantLR begins after the 12 epochs' in finding.message
    name, _, value = finding.fix.partition('=')
    assert name == 'param_scheduler'
    assert findings(*eval(value)) == []

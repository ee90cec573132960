"""Laws of what workers agree on."""

import pytest

from mmdet_retina_plus.sweeps.plan import (
    Plan,
    differences,
    first_difference,
)
from mmdet_retina_plus.sweeps.plan import make_plan as read_plan
from mmdet_retina_plus.sweeps.trial_queue import SweepStudy
from tests.sweeps.scenes import POINTS, make_plan, make_study


def test_a_plan_survives_the_storage(journal):
    plan = make_plan(POINTS, seeds=[3, 1], prune=True)
    make_study(journal, plan)
    assert SweepStudy(journal, 'scene').plan() == plan
    assert Plan.load(plan.dump()) == plan


@pytest.mark.parametrize(
    ('then', 'now', 'said'),
    [
        ('a = dict(b=1)', 'a = dict(b=1, c=2)', 'a.c: then not set, now 2'),
        ('a = [1, 2]', 'a = [1, 3]', 'a.1: then 2, now 3'),
        ('a = []', 'a = [1]', 'a: then [], now [1]'),
        ('a = (1, 2)', 'a = [1, 2]', 'a: then (1, 2), now [1, 2]'),
        ('a = 1', 'a = 1.0', 'a: then 1, now 1.0'),
        ('a = 1\nb = 2', 'b = 2\na = 1', 'order'),
    ],
)
def test_the_first_key_that_differs_is_named(then, now, said):
    assert said in first_difference(then, now)


def test_points_that_mean_the_same_are_one_job():
    one = make_plan([dict(a=[1])]).jobs
    assert make_plan([dict(a=(1.0,))]).jobs.keys() == one.keys()


def test_each_point_changes_the_config_that_it_names():
    points = [dict(config='a.py'), dict(config='b.py', lr=1), dict(lr=2)]
    plan = make_plan(points, others={'a.py': 'a = 1', 'b.py': 'b = 1'})
    assert [plan.base_of(point) for point in points] == [
        'a = 1',
        'b = 1',
        plan.base,
    ]
    assert Plan.load(plan.dump()) == plan


def test_other_configs_may_join_but_none_may_change():
    old = make_plan([dict(config='a.py')], others={'a.py': 'a = 1'})
    more = make_plan(
        [dict(config='a.py'), dict(config='b.py')],
        others={'a.py': 'a = 1', 'b.py': 'b = 1'},
    )
    assert differences(old, more) == []
    changed = make_plan([dict(config='a.py')], others={'a.py': 'a = 2'})
    assert differences(old, changed) == ['a.py: a: then 1, now 2']


def test_configs_that_count_steps_and_epochs_do_not_compare(tmp_path):
    for name, loop in (
        ('steps', "dict(type='IterBasedTrainLoop', max_iters=3)"),
        ('epochs', "dict(type='EpochBasedTrainLoop', max_epochs=3)"),
    ):
        (tmp_path / f'{name}.py').write_text(f'train_cfg = {loop}')
    spec = tmp_path / 'spec.py'
    spec.write_text("product = dict(config=['steps.py', 'epochs.py'])")
    with pytest.raises(ValueError, match=r'epochs.py counts epochs'):
        read_plan(spec, None, [], [], False)

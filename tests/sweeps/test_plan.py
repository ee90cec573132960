"""Laws of what workers agree on."""

import pytest

from mmdet_retina_plus.sweeps.plan import Plan, first_difference
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

"""Laws of a trial that a worker took."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mmdet_retina_plus.sweeps.claim import claim_trial
from mmdet_retina_plus.sweeps.trial_queue import SweepStudy
from tests.sweeps.scenes import (
    BASE,
    POINTS,
    claim_all,
    lost,
    make_plan,
    make_study,
)


def test_many_workers_claim_each_trial_once(journal):
    make_study(journal, make_plan(POINTS, seeds=range(10)))

    def claim(_):
        # A storage of its own, as another process has.
        return claim_all(SweepStudy(journal, 'scene'))

    with ThreadPoolExecutor(4) as pool:
        claims = [x for some in pool.map(claim, range(4)) for x in some]
    assert sorted(x.trial.number for x in claims) == list(range(30))


def test_a_waiting_trial_that_left_the_plan_is_not_run(journal):
    study = make_study(journal, make_plan(POINTS))
    study.create(make_plan(POINTS[:1]))
    assert [claim.point for claim in claim_all(study)] == POINTS[:1]
    assert len(study.result().trials) == 1


def test_who_was_thought_lost_cannot_record_a_result(journal):
    study = make_study(journal, make_plan(POINTS[:1]), grace=0.01)
    sleeper = claim_trial(study)
    time.sleep(0.02)
    assert lost(study) == 1
    heir = claim_trial(study)
    assert not sleeper.seen()
    sleeper.report(5, 0.9)
    assert not sleeper.complete(0.9)
    assert heir.complete(0.5)
    (trial,) = study.result().trials
    assert (trial.state, trial.curve) == ('complete', {})


def test_a_result_of_a_config_that_was_corrected_meanwhile_does_not_count(
    journal,
):
    """A worker may take a trial in the very moment."""
    study = make_study(journal, make_plan(POINTS[:1]))
    claim = claim_trial(study)
    other = replace(make_plan(POINTS[:1]), base=BASE.replace('10', '11'))
    study.storage.set_study_user_attr(study.study_id, 'plan', other.dump())
    assert not claim.complete(0.5)
    claim = claim_trial(study)
    assert claim.plan.base == other.base
    assert claim.complete(0.25)
    assert [trial.value for trial in study.result().trials] == [0.25]


def test_a_heartbeat_looks_up_the_trial_once_and_the_study_never(
    journal, monkeypatch
):
    study = make_study(journal, make_plan(POINTS[:1]))
    claim = claim_trial(study)
    look_up = study.storage.get_trial_id_from_study_id_trial_number
    numbers = []

    def counted(study_id, number):
        numbers.append(number)
        return look_up(study_id, number)

    monkeypatch.setattr(
        study.storage, 'get_trial_id_from_study_id_trial_number', counted
    )
    monkeypatch.setattr(study.storage, 'get_study_id_from_name', pytest.fail)
    assert claim.seen()
    assert claim.sign(Path('lock'), Path('folder'))
    assert numbers == [0, 0]


def test_what_was_given_back_waits_again(journal):
    study = make_study(journal, make_plan(POINTS[:1]))
    claim_trial(study).give_back()
    assert [x.state for x in study.result().trials] == ['waiting']
    assert claim_trial(study).complete(0.5)


def test_a_trial_behind_the_median_is_pruned(journal):
    plan = make_plan([dict(gamma=float(x)) for x in range(7)], prune=True)
    study = make_study(journal, plan)
    for value in range(5):
        claim = claim_trial(study)
        claim.report(5, value / 10)
        claim.complete(value / 10)
    better, worse = claim_trial(study), claim_trial(study)
    better.report(5, 0.25)
    worse.report(5, 0.15)
    assert not better.is_behind()
    assert worse.is_behind()

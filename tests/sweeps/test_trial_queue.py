"""Laws of the queue: nothing is lost, nothing is done twice."""

import time
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState

from mmdet_retina_plus.sweeps.claim import claim_trial
from mmdet_retina_plus.sweeps.trial_folder import locked
from mmdet_retina_plus.sweeps.trial_queue import SweepStudy
from tests.sweeps.scenes import (
    BASE,
    POINTS,
    claim_all,
    make_plan,
    make_study,
    states,
)


def test_seeds_are_outermost_so_that_all_points_come_early(journal):
    study = make_study(journal, make_plan(POINTS, seeds=[1, 0]))
    claims = claim_all(study)
    assert [(x.seed, x.point) for x in claims] == [
        *((1, point) for point in POINTS),
        *((0, point) for point in POINTS),
    ]


def test_filling_again_queues_nothing_again(journal):
    study = make_study(journal, make_plan(POINTS))
    claim_trial(study).complete(0.5)
    claim_trial(study).fail('why')
    claim_trial(study)
    study.fill()
    assert states(study) == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.RUNNING,
    ]


def test_new_points_and_seeds_join_and_old_ones_stay(journal):
    study = make_study(journal, make_plan(POINTS[:2]))
    claim_trial(study).complete(0.5)
    grown = make_plan([*POINTS[::-1]], seeds=[0, 1])
    study.create(grown)
    study.fill()
    result = study.result()
    assert len(result.trials) == 6
    assert [x.point for x in result.trials if x.state == 'complete'] == [
        dict(gamma=0.0)
    ]


def test_another_config_is_refused_with_what_differs(journal):
    study = make_study(journal, make_plan(POINTS))
    other = replace(make_plan(POINTS), base=BASE.replace('10', '11'))
    # Nothing is lost yet by a mistake that is corrected.
    study.create(other)
    study.create(make_plan(POINTS))
    claim = claim_trial(study)
    match = r'train_cfg\.max_iters: then 10, now 11'
    with pytest.raises(ValueError, match=match):
        study.create(other)
    claim.fail('why')
    study.create(other)
    study.create(make_plan(POINTS))
    claim_trial(study).report(5, 0.5)
    with pytest.raises(ValueError, match=match):
        study.create(other)


def test_a_journal_tells_the_names_of_its_studies(journal):
    study = make_study(journal, make_plan(POINTS), name='first')
    make_study(journal, make_plan(POINTS), name='second')
    assert study.names() == ['first', 'second']


def test_a_failed_trial_is_run_again_only_when_asked_to(journal):
    study = make_study(journal, make_plan(POINTS[:1]))
    claim_trial(study).fail('why')
    study.recover()
    study.fill()
    assert claim_trial(study) is None
    study.fill(retry_failed=True)
    claim = claim_trial(study)
    claim.complete(0.25)
    (trial,) = study.result().trials
    assert (trial.state, trial.value) == ('complete', 0.25)


def test_two_who_fill_at_once_run_each_trial_once(journal):
    plan = make_plan(POINTS)
    studies = [SweepStudy(journal, 'scene') for _ in range(2)]
    for study in studies:
        study.create(plan)
    # Both saw an empty queue.
    seen = studies[0].owners()
    for study in studies:
        study.owners = lambda: seen
        study.fill()
        del study.owners
    assert len(states(studies[0])) == 6
    claims = [claim for study in studies for claim in claim_all(study)]
    assert [claim.point for claim in claims] == POINTS
    assert [x.state for x in studies[0].result().trials] == ['running'] * 3


def test_two_who_find_the_same_trial_lost_run_it_once(journal):
    first = make_study(journal, make_plan(POINTS[:1]), grace=0.01)
    second = SweepStudy(journal, 'scene', grace=0.01)
    claim_trial(first)
    time.sleep(0.02)
    seen = first.owners()
    second.owners = lambda: seen
    first.recover()
    second.recover()
    del second.owners
    claims = claim_all(first) + claim_all(second)
    assert len(claims) == 1
    assert len(first.result().trials) == 1


def test_what_was_lost_but_not_queued_again_is_queued_by_the_next(journal):
    study = make_study(journal, make_plan(POINTS[:1]))
    claim = claim_trial(study)
    study.end(claim.trial, TrialState.FAIL, reason='lost')
    assert SweepStudy(journal, 'scene').recover()
    assert claim_trial(study) is not None


def test_nothing_is_left_to_do_when_all_the_others_are_alive(
    journal, tmp_path
):
    study = make_study(journal, make_plan(POINTS[:1]))
    claim = claim_trial(study)
    with locked(tmp_path / 'lock'):
        claim.sign(tmp_path / 'lock', tmp_path)
        assert not study.recover()


def test_another_prefix_is_refused_once_there_are_values(journal):
    plan = make_plan(POINTS)
    other = replace(plan, sweep=replace(plan.sweep, prefix='model.head.'))
    study = make_study(journal, plan)
    study.create(other)
    study.create(plan)
    claim_trial(study).report(5, 0.5)
    with pytest.raises(
        ValueError, match=r"prefix: then 'model\.', now 'model\.head"
    ):
        study.create(other)


def test_a_study_of_another_folder_is_refused(journal):
    study = make_study(journal, make_plan(POINTS))
    elsewhere = make_plan(POINTS, folder='/elsewhere')
    assert study.create(elsewhere)
    assert study.create(make_plan(POINTS))
    assert not study.create(make_plan(POINTS[:1]))
    claim_trial(study).report(5, 0.5)
    with pytest.raises(
        ValueError, match=r"folder: then '\.', now '/elsewhere"
    ):
        study.create(elsewhere)


def test_a_validation_that_is_no_score_is_no_result(journal):
    study = make_study(journal, make_plan(POINTS))
    claim = claim_trial(study)
    claim.report(5, -1.0)
    claim.fail('no object of that size')
    plan = make_plan(POINTS)
    other = replace(plan.sweep, metric='coco/bbox_mAP_s')
    assert study.create(replace(plan, sweep=other))


def test_an_unknown_study_names_the_fix(journal):
    with pytest.raises(ValueError, match='sweep run'):
        SweepStudy(journal, 'nothing').plan()


def test_numbers_of_a_point_are_parameters_to_optunas_own_tools(journal):
    points = [dict(gamma=g, type='A', flag=True) for g in (0, 1, 2, 4)]
    study = make_study(journal, make_plan(points))
    for value in (0.1, 0.2, 0.3):
        claim_trial(study).complete(value)
    # A point that joins later has a number of its own.
    study.create(make_plan([*points, dict(gamma=3.0)]))
    study.fill()
    claims = claim_all(study)
    assert [claim.point for claim in claims] == [
        points[3],
        dict(gamma=3.0),
    ]
    for claim in claims:
        claim.complete(0.4)
    theirs = optuna.load_study(storage=study.storage, study_name='scene')
    table = theirs.trials_dataframe()
    assert table.params_gamma.tolist() == [0, 1, 2, 4, 3]
    assert not {'params_type', 'params_flag'} & {*table.columns}
    importances = optuna.importance.get_param_importances(theirs)
    assert importances['gamma'] > 0


def test_a_study_of_before_numbers_were_parameters_is_resumed(journal):
    plan = make_plan(POINTS[:2])
    study = SweepStudy(journal, 'scene')
    study.create(plan)
    theirs = optuna.load_study(storage=study.storage, study_name='scene')
    for point, seed in list(plan.jobs)[:1]:
        attributes = dict(job=[point, seed], instead_of=None)
        theirs.add_trial(
            optuna.trial.create_trial(
                state=TrialState.WAITING, user_attrs=attributes
            )
        )
    study.fill()
    for claim, value in zip(claim_all(study), (0.1, 0.2), strict=True):
        assert claim.complete(value)
    assert [x.value for x in study.result().trials] == [0.1, 0.2]

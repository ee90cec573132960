"""Laws of workers, with stand-ins for trainings."""

import dataclasses
import threading
import time

import pytest

from mmdet_retina_plus.sweeps.trial_queue import SweepStudy
from tests.sweeps.scenes import (
    BASE,
    GAMMAS,
    check_done,
    kill_at_random,
    make_plan,
    make_study,
    work,
)

pytestmark = pytest.mark.usefixtures('hasty')


def test_all_trials_are_trained_once_and_recorded(tmp_path):
    study = make_study(
        str(tmp_path / 'study.log'), make_plan(GAMMAS, seeds=[0, 1])
    )
    events = work(study, tmp_path, jobs=2)
    check_done(study, tmp_path)
    assert [event.kind for event in events].count('complete') == 8
    assert work(study, tmp_path) == []


def test_a_failure_is_recorded_with_its_last_lines_and_the_rest_goes_on(
    tmp_path,
):
    points = [dict(gamma=0.0), dict(fails=True), dict(gamma=1.0)]
    study = make_study(str(tmp_path / 'study.log'), make_plan(points))
    work(study, tmp_path)
    trials = study.result().trials
    assert [x.state for x in trials] == ['complete', 'failed', 'complete']
    assert 'an early line\nValueError: the model fails' in trials[1].error


def test_a_trial_that_cannot_even_start_fails_alone(tmp_path):
    plan = make_plan([{'gamma.x': 1}, dict(gamma=1.0)])
    study = make_study(str(tmp_path / 'study.log'), plan)
    work(study, tmp_path)
    trials = study.result().trials
    assert [trial.state for trial in trials] == ['failed', 'complete']
    assert trials[0].error


def test_a_metric_that_never_comes_fails_the_trial_with_its_name(tmp_path):
    plan = make_plan(GAMMAS[:1])
    sweep = dataclasses.replace(plan.sweep, metric='coco/segm_mAP')
    plan = dataclasses.replace(plan, sweep=sweep)
    study = make_study(str(tmp_path / 'study.log'), plan)
    work(study, tmp_path)
    (trial,) = study.result().trials
    assert trial.state == 'failed'
    assert 'logged coco/segm_mAP, but coco/bbox_mAP' in trial.error


def test_a_metric_of_no_object_is_no_score(tmp_path):
    """The stand-in's last validation is -1 there, pycocotools' answer."""
    study = make_study(str(tmp_path / 'log'), make_plan([dict(gamma=-20.0)]))
    (_, failed) = work(study, tmp_path)
    assert failed.kind == 'failed'
    assert 'coco/bbox_mAP is -1, which is not a score' in failed.text
    assert 'set `metric` of the sweep to another' in failed.text


def test_a_run_without_validation_fails_with_the_fix(tmp_path):
    base = BASE.replace('val_interval=5', 'val_interval=50')
    plan = make_plan(GAMMAS[:1], base=base)
    study = make_study(str(tmp_path / 'study.log'), plan)
    work(study, tmp_path)
    (trial,) = study.result().trials
    assert 'val_interval' in trial.error


def test_a_stop_gives_trials_back_and_the_next_worker_resumes(tmp_path):
    slow = BASE.replace('per_second = 50', 'per_second = 8')
    plan = make_plan(GAMMAS[:2], base=slow)
    study = make_study(str(tmp_path / 'study.log'), plan)
    timer = threading.Timer(1.0, study.stop.set)
    timer.start()
    events = work(study, tmp_path, jobs=2)
    study.stop.clear()
    assert {event.kind for event in events} == {'start', 'returned'}
    assert [x.state for x in study.result().trials] == ['waiting'] * 2
    work(study, tmp_path, jobs=2)
    check_done(study, tmp_path)


def test_trials_behind_the_median_end_early(tmp_path):
    points = [dict(gamma=float(gamma)) for gamma in [0, 0, 1, 2, 3, 4, 90]]
    points[1]['alpha'] = 0.5
    slow = BASE.replace('per_second = 50', 'per_second = 20')
    plan = make_plan(points, prune=True, base=slow)
    study = make_study(str(tmp_path / 'study.log'), plan)
    work(study, tmp_path)
    trials = {str(x.point): x for x in study.result().trials}
    last = trials.pop(str(points[-1]))
    assert (last.state, list(last.curve)) == ('pruned', [5])
    assert trials[str(points[0])].state == 'complete'


def test_points_that_join_while_a_worker_trains_are_trained(tmp_path):
    study = make_study(str(tmp_path / 'study.log'), make_plan(GAMMAS[:1]))
    later = SweepStudy(str(tmp_path / 'study.log'), 'scene')

    def join():
        later.create(make_plan(GAMMAS[:3]))
        later.fill()

    timer = threading.Timer(0.2, join)
    timer.start()
    work(study, tmp_path)
    check_done(study, tmp_path)
    assert len(study.result().trials) == 3


def test_a_run_that_lost_its_last_validation_repeats_it(tmp_path):
    """Its last checkpoint is of the last step, where nothing is left to do."""
    slow = BASE.replace('per_second = 50', 'per_second = 4')
    study = make_study(
        str(tmp_path / 'study.log'), make_plan(GAMMAS[:1], base=slow)
    )

    def stop_in_the_last_validation():
        while not list(tmp_path.glob('*/*/iter_10.pth')):
            time.sleep(0.01)
        study.stop.set()

    thread = threading.Thread(target=stop_in_the_last_validation)
    thread.start()
    assert [x.kind for x in work(study, tmp_path)] == ['start', 'returned']
    thread.join()
    study.stop.clear()
    (log,) = tmp_path.glob('*/*/*/vis_data/scalars.json')
    assert log.read_text().count('bbox_mAP') == 1
    work(study, tmp_path)
    check_done(study, tmp_path)


def test_another_config_in_the_same_folder_trains_anew(tmp_path):
    other = BASE.replace('alpha=0.25', 'alpha=0.5')
    for number, base in enumerate([BASE, other]):
        journal = str(tmp_path / f'{number}.log')
        study = make_study(journal, make_plan(GAMMAS[:1], base=base))
        work(study, tmp_path)
    assert len(list(tmp_path.glob('*/*/ended'))) == 2


def test_workers_killed_at_random_lose_nothing_and_repeat_nothing(tmp_path):
    """Two processes; SIGKILL meets them wherever they happen to be."""
    slow = BASE.replace('per_second = 50', 'per_second = 10')
    plan = make_plan(GAMMAS, seeds=[0, 1], base=slow)
    journal = str(tmp_path / 'study.log')
    study = make_study(journal, plan)
    kill_at_random(study, journal, tmp_path)
    check_done(study, tmp_path)

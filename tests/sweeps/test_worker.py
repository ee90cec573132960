"""Laws of workers, with stand-ins for trainings."""

import os
import random
import threading
import time
from pathlib import Path

import pytest

from mmdet_retina_plus.sweeps import worker
from mmdet_retina_plus.sweeps.trial_queue import SweepStudy
from mmdet_retina_plus.sweeps.worker import make_slots, visible_gpus
from tests.sweeps.scenes import BASE, make_plan, make_study, start_worker, work

POINTS = [dict(gamma=float(gamma)) for gamma in range(4)]


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(worker, 'POLL', 0.05)


def expected(point: dict, seed: int) -> float:
    """The stand-in's AP at its last step."""
    return 10 / (10 + point['gamma'] + seed)


def check_done(study: SweepStudy, work_dir: Path) -> None:
    """Every trial complete with its own value, never trained twice at once."""
    result = study.result()
    jobs = len(result.points) * len(result.seeds)
    assert len(result.trials) == jobs
    for trial in result.trials:
        assert trial.state == 'complete', trial
        assert trial.value == pytest.approx(expected(trial.point, trial.seed))
        # A run that was stopped in a validation, but for the last, lacks it.
        assert list(trial.curve) in ([5, 10], [10])
    assert not list(work_dir.glob('*/*/overlap'))
    assert len(list(work_dir.glob('*/*/ended'))) == jobs


def test_all_trials_are_trained_once_and_recorded(tmp_path):
    study = make_study(
        str(tmp_path / 'study.log'), make_plan(POINTS, seeds=[0, 1])
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
    plan = make_plan(POINTS[:1])
    plan.sweep.__dict__['metric'] = 'coco/segm_mAP'
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
    assert 'coco/bbox_mAP is -1, which is no score' in failed.text
    assert 'set `metric` of the sweep to another' in failed.text


def test_a_run_without_validation_fails_with_the_way_out(tmp_path):
    base = BASE.replace('val_interval=5', 'val_interval=50')
    plan = make_plan(POINTS[:1], base=base)
    study = make_study(str(tmp_path / 'study.log'), plan)
    work(study, tmp_path)
    (trial,) = study.result().trials
    assert 'val_interval' in trial.error


def test_a_stop_gives_trials_back_and_the_next_worker_resumes(tmp_path):
    slow = BASE.replace('per_second = 50', 'per_second = 8')
    plan = make_plan(POINTS[:2], base=slow)
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
    study = make_study(str(tmp_path / 'study.log'), make_plan(POINTS[:1]))
    later = SweepStudy(str(tmp_path / 'study.log'), 'scene')

    def join():
        later.create(make_plan(POINTS[:3]))
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
        str(tmp_path / 'study.log'), make_plan(POINTS[:1], base=slow)
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
        study = make_study(journal, make_plan(POINTS[:1], base=base))
        work(study, tmp_path)
    assert len(list(tmp_path.glob('*/*/ended'))) == 2


def test_workers_killed_at_random_lose_nothing_and_repeat_nothing(tmp_path):
    """Two processes; SIGKILL meets them wherever they happen to be."""
    slow = BASE.replace('per_second = 50', 'per_second = 10')
    plan = make_plan(POINTS, seeds=[0, 1], base=slow)
    journal = str(tmp_path / 'study.log')
    study = make_study(journal, plan)
    kill_at_random(study, journal, tmp_path)
    check_done(study, tmp_path)


def kill_at_random(
    study: SweepStudy, storage: str, work_dir: Path, kills: int = 4
) -> None:
    """Keep two workers alive, kill some, until every trial is complete."""
    draw = random.Random(0)
    workers = [start_worker(storage, study.name, work_dir) for _ in range(2)]
    deadline = time.monotonic() + 200
    killed = 0
    while not all(x.state == 'complete' for x in study.result().trials):
        assert time.monotonic() < deadline, study.result()
        if killed < kills and any(work_dir.glob('*/*/iter_*.pth')):
            time.sleep(draw.uniform(0, 1.5))
            draw.choice(workers).kill()
            killed += 1
        time.sleep(0.1)
        for number, process in enumerate(workers):
            if process.poll() is not None:
                workers[number] = start_worker(storage, study.name, work_dir)
    for process in workers:
        process.wait(60)
    assert killed == kills


def test_gpus_are_divided():
    slots = make_slots(2, 2, ['0', '2', '4', '6'])
    assert [slot.gpus for slot in slots] == ['0,2', '4,6']
    assert [slot.nproc for slot in slots] == [2, 2]
    environment = slots[1].environment()
    assert environment['CUDA_VISIBLE_DEVICES'] == '4,6'


def test_single_processes_share_gpus_where_there_are_too_few():
    slots = make_slots(3, 1, ['0', '1'])
    assert [slot.gpus for slot in slots] == ['0', '1', '0']


@pytest.mark.parametrize(
    ('gpus', 'error'),
    [(['0', '1', '2'], 'need 4 GPUs, there are 3'), ([], 'needs a GPU')],
)
def test_processes_never_share_a_gpu(gpus, error):
    with pytest.raises(ValueError, match=error):
        make_slots(2, 2, gpus)


def test_cores_are_divided_unless_the_user_did(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(8)))
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    (*_, slot) = make_slots(3, 1, [])
    assert slot.environment()['OMP_NUM_THREADS'] == '2'
    gpus = os.environ.get('CUDA_VISIBLE_DEVICES')
    assert slot.environment().get('CUDA_VISIBLE_DEVICES') == gpus
    monkeypatch.setenv('OMP_NUM_THREADS', '5')
    assert slot.environment()['OMP_NUM_THREADS'] == '5'


def test_gpus_keep_the_names_that_the_user_gave(monkeypatch):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    assert visible_gpus() == ['0', '1']
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '5,GPU-1f')
    assert visible_gpus() == ['5', 'GPU-1f']

"""Laws of the queue: nothing is lost, nothing is done twice."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from mmdet_retina_plus.sweeps.plan import Plan, first_difference
from mmdet_retina_plus.sweeps.storage import StorageError, open_storage
from mmdet_retina_plus.sweeps.training import locked
from mmdet_retina_plus.sweeps.trial_queue import SweepStudy
from tests.sweeps.scenes import BASE, make_plan, make_study

POINTS = [dict(gamma=0.0), dict(gamma=1.0), dict(gamma=2.0, alpha=(0.1, 0.2))]


@pytest.fixture
def journal(tmp_path):
    return str(tmp_path / 'study.log')


def states(study):
    trials = study.storage.get_all_trials(study.study_id())
    return [trial.state for trial in trials]


def lost(study):
    """How many trials turn out lost."""
    before = states(study).count(TrialState.FAIL)
    study.recover()
    return states(study).count(TrialState.FAIL) - before


def claim_all(study):
    return list(iter(study.claim, None))


def test_a_plan_survives_the_storage(journal):
    plan = make_plan(POINTS, seeds=[3, 1], prune=True)
    make_study(journal, plan)
    assert SweepStudy(journal, 'scene').plan() == plan
    assert Plan.load(plan.dump()) == plan


def test_seeds_are_outermost_so_that_all_points_come_early(journal):
    study = make_study(journal, make_plan(POINTS, seeds=[1, 0]))
    claims = claim_all(study)
    assert [(x.seed, x.point) for x in claims] == [
        *((1, point) for point in POINTS),
        *((0, point) for point in POINTS),
    ]


def test_filling_again_queues_nothing_again(journal):
    study = make_study(journal, make_plan(POINTS))
    study.claim().complete(0.5)
    study.claim().fail('why')
    study.claim()
    study.fill()
    assert states(study) == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.RUNNING,
    ]


def test_new_points_and_seeds_join_and_old_ones_stay(journal):
    study = make_study(journal, make_plan(POINTS[:2]))
    study.claim().complete(0.5)
    grown = make_plan([*POINTS[::-1]], seeds=[0, 1])
    study.create(grown)
    study.fill()
    result = study.result()
    assert len(result.trials) == 6
    assert [x.point for x in result.trials if x.state == 'complete'] == [
        dict(gamma=0.0)
    ]


def test_a_waiting_trial_that_left_the_plan_is_not_run(journal):
    study = make_study(journal, make_plan(POINTS))
    study.create(make_plan(POINTS[:1]))
    assert [claim.point for claim in claim_all(study)] == POINTS[:1]
    assert len(study.result().trials) == 1


def test_another_config_is_refused_with_what_differs(journal):
    study = make_study(journal, make_plan(POINTS))
    other = replace(make_plan(POINTS), base=BASE.replace('10', '11'))
    # Nothing is lost yet by a mistake that is mended.
    study.create(other)
    study.create(make_plan(POINTS))
    claim = study.claim()
    match = r'train_cfg\.max_iters: then 10, now 11'
    with pytest.raises(ValueError, match=match):
        study.create(other)
    claim.fail('why')
    study.create(other)
    study.create(make_plan(POINTS))
    study.claim().report(5, 0.5)
    with pytest.raises(ValueError, match=match):
        study.create(other)


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


def test_a_journal_tells_the_names_of_its_studies(journal):
    study = make_study(journal, make_plan(POINTS), name='first')
    make_study(journal, make_plan(POINTS), name='second')
    assert study.names() == ['first', 'second']


def test_a_failed_trial_is_run_again_only_when_asked_to(journal):
    study = make_study(journal, make_plan(POINTS[:1]))
    study.claim().fail('why')
    study.recover()
    study.fill()
    assert study.claim() is None
    study.fill(retry_failed=True)
    claim = study.claim()
    claim.complete(0.25)
    (trial,) = study.result().trials
    assert (trial.state, trial.value) == ('complete', 0.25)


def test_many_workers_claim_each_trial_once(journal):
    make_study(journal, make_plan(POINTS, seeds=range(10)))

    def claim(_):
        # A storage of its own, as another process has.
        return claim_all(SweepStudy(journal, 'scene'))

    with ThreadPoolExecutor(4) as pool:
        claims = [x for some in pool.map(claim, range(4)) for x in some]
    assert sorted(x.trial.number for x in claims) == list(range(30))


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
    first.claim()
    time.sleep(0.02)
    seen = first.owners()
    second.owners = lambda: seen
    first.recover()
    second.recover()
    del second.owners
    claims = claim_all(first) + claim_all(second)
    assert len(claims) == 1
    assert len(first.result().trials) == 1


def test_who_was_thought_lost_cannot_record_a_result(journal):
    study = make_study(journal, make_plan(POINTS[:1]), grace=0.01)
    sleeper = study.claim()
    time.sleep(0.02)
    assert lost(study) == 1
    heir = study.claim()
    assert not sleeper.seen()
    sleeper.report(5, 0.9)
    assert not sleeper.complete(0.9)
    assert heir.complete(0.5)
    (trial,) = study.result().trials
    assert (trial.state, trial.curve) == ('complete', {})


def test_on_the_same_machine_the_lock_tells_who_lives(journal, tmp_path):
    study = make_study(journal, make_plan(POINTS[:1]), grace=0.01)
    claim = study.claim()
    lock = tmp_path / 'lock'
    with locked(lock):
        claim.sign(lock, tmp_path)
        time.sleep(0.02)
        # Silent for longer than the grace, but alive.
        assert not lost(study)
    study.grace = 300.0
    # Just heard of, but dead.
    claim.seen()
    assert lost(study) == 1


def test_on_another_machine_silence_tells(journal, tmp_path, monkeypatch):
    study = make_study(journal, make_plan(POINTS[:1]), grace=0.5)
    claim = study.claim()
    lock = tmp_path / 'lock'
    lock.touch()
    monkeypatch.setattr('socket.gethostname', lambda: 'elsewhere')
    claim.sign(lock, tmp_path)
    monkeypatch.undo()
    assert not lost(study)
    time.sleep(0.4)
    claim.seen()
    time.sleep(0.2)
    assert not lost(study)
    time.sleep(0.4)
    assert lost(study) == 1


def test_a_lock_that_is_seen_tells_more_than_silence(
    journal, tmp_path, monkeypatch
):
    """Of another machine that sleeps, on a disk that shares its locks."""
    study = make_study(journal, make_plan(POINTS[:1]), grace=0.01)
    claim = study.claim()
    lock = tmp_path / 'lock'
    with locked(lock):
        monkeypatch.setattr('socket.gethostname', lambda: 'elsewhere')
        claim.sign(lock, tmp_path)
        monkeypatch.undo()
        time.sleep(0.02)
        assert not lost(study)
    assert lost(study) == 1


def test_a_trial_that_was_taken_but_not_signed_is_soon_lost(
    journal, monkeypatch
):
    study = make_study(journal, make_plan(POINTS[:1]))
    monkeypatch.setattr('mmdet_retina_plus.sweeps.trial_queue.UNSIGNED', 0.2)
    study.claim()
    # A worker that finds nothing else waits for it.
    assert study.recover()
    assert study.claim() is None
    time.sleep(0.3)
    assert study.recover()
    assert study.claim() is not None


def test_what_was_lost_but_not_queued_again_is_queued_by_the_next(journal):
    study = make_study(journal, make_plan(POINTS[:1]))
    claim = study.claim()
    study.end(claim.trial, TrialState.FAIL, reason='lost')
    assert SweepStudy(journal, 'scene').recover()
    assert study.claim() is not None


def test_nothing_is_left_to_do_when_all_the_others_are_alive(
    journal, tmp_path
):
    study = make_study(journal, make_plan(POINTS[:1]))
    claim = study.claim()
    with locked(tmp_path / 'lock'):
        claim.sign(tmp_path / 'lock', tmp_path)
        assert not study.recover()


def test_a_stop_does_not_wait_for_the_storage(journal, monkeypatch):
    study = make_study(journal, make_plan(POINTS[:1]))
    claim = study.claim()

    def away(*_):
        raise OSError('away')

    monkeypatch.setattr(study.storage, 'set_trial_user_attr', away)
    study.stop.set()
    with pytest.raises(StorageError, match='away'):
        claim.seen()


def test_another_prefix_is_refused_once_there_are_values(journal):
    plan = make_plan(POINTS)
    other = replace(plan, sweep=replace(plan.sweep, prefix='model.head.'))
    study = make_study(journal, plan)
    study.create(other)
    study.create(plan)
    study.claim().report(5, 0.5)
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
    study.claim().report(5, 0.5)
    with pytest.raises(
        ValueError, match=r"folder: then '\.', now '/elsewhere"
    ):
        study.create(elsewhere)


def test_a_result_of_a_config_that_was_mended_meanwhile_does_not_count(
    journal,
):
    """A worker may take a trial in the very moment."""
    study = make_study(journal, make_plan(POINTS[:1]))
    claim = study.claim()
    other = replace(make_plan(POINTS[:1]), base=BASE.replace('10', '11'))
    study.storage.set_study_user_attr(study.study_id(), 'plan', other.dump())
    assert not claim.complete(0.5)
    claim = study.claim()
    assert claim.plan.base == other.base
    assert claim.complete(0.25)
    assert [trial.value for trial in study.result().trials] == [0.25]


def test_a_validation_that_is_no_score_is_no_result(journal):
    study = make_study(journal, make_plan(POINTS))
    claim = study.claim()
    claim.report(5, -1.0)
    claim.fail('no object of that size')
    plan = make_plan(POINTS)
    other = replace(plan.sweep, metric='coco/bbox_mAP_s')
    assert study.create(replace(plan, sweep=other))


def test_the_time_of_a_job_is_that_of_all_its_interruptions(journal):
    study = make_study(journal, make_plan(POINTS[:1]))
    claim = study.claim()
    time.sleep(0.3)
    claim.give_back()
    study.claim().complete(0.5)
    (trial,) = study.result().trials
    assert trial.seconds > 0.3


def test_what_was_given_back_waits_again(journal):
    study = make_study(journal, make_plan(POINTS[:1]))
    study.claim().give_back()
    assert [x.state for x in study.result().trials] == ['waiting']
    assert study.claim().complete(0.5)


def test_half_a_line_of_a_killed_writer_is_cut_off(journal):
    study = make_study(journal, make_plan(POINTS))
    with open(journal, 'ab') as file:
        file.write(b'{"op_code":6,"half')
    # A storage that is open goes on, and one that is opened now can read.
    assert study.claim().complete(0.5)
    later = SweepStudy(journal, 'scene')
    assert [trial.state for trial in later.result().trials] == [
        'complete',
        'waiting',
        'waiting',
    ]
    assert later.claim().point == POINTS[1]


def test_optunas_own_journal_would_be_broken_by_it(journal):
    make_study(journal, make_plan(POINTS))
    with open(journal, 'ab') as file:
        file.write(b'{"op_code":6,"half')
    stock = JournalFileBackend(journal)
    stock.append_logs([{}])
    stock.append_logs([{}])
    with pytest.raises(ValueError, match='line 1'):
        list(stock.read_logs(0))


def test_a_storage_that_is_away_for_a_moment_is_waited_for(
    journal, monkeypatch
):
    study = make_study(journal, make_plan(POINTS[:1]), grace=5.0)
    claim = study.claim()
    original = study.storage.set_trial_user_attr
    calls = []

    def flaky(*args):
        calls.append(args)
        if len(calls) < 3:
            raise OSError('Stale file handle')
        return original(*args)

    monkeypatch.setattr('mmdet_retina_plus.sweeps.storage.PAUSE', 0.01)
    monkeypatch.setattr(study.storage, 'set_trial_user_attr', flaky)
    assert claim.seen()
    study.grace = 0.0
    calls.clear()
    with pytest.raises(StorageError, match='Stale'):
        claim.seen()


@pytest.mark.parametrize(
    ('storage', 'error'),
    [
        ('no/such/folder/study.log', 'no folder'),
        ('nosuchdb://host/name', 'storage cannot be used'),
        ('postgresql+psycopg://127.0.0.1:1/x', 'storage cannot be used'),
    ],
)
def test_a_storage_that_is_not_to_be_had_says_so(storage, error):
    with pytest.raises(ValueError, match=error):
        open_storage(storage)


def test_an_unknown_study_names_the_way_out(journal):
    with pytest.raises(ValueError, match='sweep run'):
        SweepStudy(journal, 'nothing').plan()


def test_a_trial_behind_the_median_is_pruned(journal):
    plan = make_plan([dict(gamma=float(x)) for x in range(7)], prune=True)
    study = make_study(journal, plan)
    for value in range(5):
        claim = study.claim()
        claim.report(5, value / 10)
        claim.complete(value / 10)
    better, worse = study.claim(), study.claim()
    better.report(5, 0.25)
    worse.report(5, 0.15)
    assert not better.is_behind()
    assert worse.is_behind()

"""Laws of whether a worker lives, and of the time it spent."""

import time

from mmdet_retina_plus.sweeps.claim import claim_trial
from mmdet_retina_plus.sweeps.trial_folder import locked
from tests.sweeps.scenes import POINTS, lost, make_plan, make_study


def test_on_the_same_machine_the_lock_tells_who_lives(journal, tmp_path):
    study = make_study(journal, make_plan(POINTS[:1]), grace=0.01)
    claim = claim_trial(study)
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
    claim = claim_trial(study)
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
    """The machine sleeps, on a disk that shares its locks."""
    study = make_study(journal, make_plan(POINTS[:1]), grace=0.01)
    claim = claim_trial(study)
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
    monkeypatch.setattr('mmdet_retina_plus.sweeps.trials.UNSIGNED', 0.2)
    claim_trial(study)
    # A worker that finds nothing else waits for it.
    assert study.recover()
    assert claim_trial(study) is None
    time.sleep(0.3)
    assert study.recover()
    assert claim_trial(study) is not None


def test_the_time_of_a_job_is_that_of_all_its_interruptions(journal):
    study = make_study(journal, make_plan(POINTS[:1]))
    claim = claim_trial(study)
    time.sleep(0.3)
    claim.give_back()
    claim_trial(study).complete(0.5)
    (trial,) = study.result().trials
    assert trial.seconds > 0.3

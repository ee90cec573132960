"""Laws of storages that break, are away or cannot be had."""

import pytest
from optuna.storages.journal import JournalFileBackend

from mmdet_retina_plus.sweeps.claim import claim_trial
from mmdet_retina_plus.sweeps.storage import StorageError, open_storage
from mmdet_retina_plus.sweeps.trial_queue import SweepStudy
from tests.sweeps.scenes import POINTS, make_plan, make_study


def test_half_a_line_of_a_killed_writer_is_cut_off(journal):
    study = make_study(journal, make_plan(POINTS))
    with open(journal, 'ab') as file:
        file.write(b'{"op_code":6,"half')
    # An open storage continues, and one that is opened now can read.
    assert claim_trial(study).complete(0.5)
    later = SweepStudy(journal, 'scene')
    assert [trial.state for trial in later.result().trials] == [
        'complete',
        'waiting',
        'waiting',
    ]
    assert claim_trial(later).point == POINTS[1]


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
    claim = claim_trial(study)
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


def test_a_stop_does_not_wait_for_the_storage(journal, monkeypatch):
    study = make_study(journal, make_plan(POINTS[:1]))
    claim = claim_trial(study)

    def away(*_):
        raise OSError('away')

    monkeypatch.setattr(study.storage, 'set_trial_user_attr', away)
    study.stop.set()
    with pytest.raises(StorageError, match='away'):
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

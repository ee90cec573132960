"""Laws of what the trials of a point come to."""

from mmdet_retina_plus.sweeps.point_labels import identity
from mmdet_retina_plus.sweeps.summary import summarize
from tests.sweeps.sweep_results import make_sweep, make_trial


def test_a_trial_finds_its_point_after_a_storage_changed_its_types():
    points = [dict(scale=(1333, 800), gamma=2), dict(scale=(667, 400))]
    stored = dict(gamma=2.0, scale=[1333, 800])
    summary = summarize(make_sweep(points, [make_trial(0, stored)]))
    assert summary.trials.row.tolist() == [0]
    assert summary.points.complete.tolist() == [1, 0]
    assert identity(1) != identity(True)

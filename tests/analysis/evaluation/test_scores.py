"""Best thresholds, curves over the score, and calibration."""

import numpy as np
import pytest

from mmdet_retina_plus.analysis.evaluation.score_curves import (
    Ranked,
    best_threshold,
    calibration,
    over_scores,
    ranked,
)
from tests.helpers.evaluations import columns_of, of_image, random_scene


def items(scores, right, num) -> Ranked:
    return Ranked(np.array(scores, float), np.array(right, bool), num)


def test_the_best_threshold_by_hand():
    found = best_threshold(items([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1], 4))
    # 3 of 4 are right and 3 of 4 found; two alone have F1 4 / 6.
    assert found == dict(score=0.6, precision=0.75, recall=0.75, F1=0.75)


def test_detections_of_equal_scores_are_kept_together():
    found = best_threshold(items([0.9, 0.9, 0.5], [1, 0, 0], 1))
    assert found['score'] == 0.9
    assert found['precision'] == 0.5


def test_the_higher_one_of_equally_good_thresholds():
    found = best_threshold(items([0.9, 0.6, 0.5, 0.4], [1, 0, 0, 1], 2))
    assert (found['score'], found['F1']) == (0.9, pytest.approx(2 / 3))


@pytest.mark.parametrize('scores', [[], [0.5]])
def test_where_no_detection_is_right_there_is_no_threshold(scores):
    found = best_threshold(items(scores, [0] * len(scores), 2))
    assert set(found.values()) == {None}


def test_a_curve_has_the_numbers_of_its_threshold():
    columns = columns_of(*random_scene(np.random.default_rng(4)))
    counted = ranked(columns)
    best = best_threshold(counted)
    grid = np.array([best['score'], 2])
    precision, recall, f1 = over_scores(counted, grid)
    assert [precision[0], recall[0], f1[0]] == [
        best[key] for key in ('precision', 'recall', 'F1')
    ]
    assert np.isnan(precision[1])
    assert recall[1] == f1[1] == 0
    assert counted.num == sum(ranked(columns, n).num for n in range(3))


def test_scores_that_are_frequencies_are_calibrated():
    right = [1] * 3 + [0] + [1] + [0] * 3
    found = calibration(items([0.75] * 4 + [0.25] * 4, right, 9))
    assert found['ECE'] == pytest.approx(0, abs=1e-12)
    filled = [item for item in found['bins'] if item['count']]
    assert [item['precision'] for item in filled] == [0.25, 0.75]
    assert [item['count'] for item in filled] == [4, 4]


def test_ece_is_the_mean_distance_weighted_by_detections():
    found = calibration(items([1, 0.5, 0.5, 0.5], [0, 1, 1, 1], 3))
    assert found['ECE'] == pytest.approx((1 * 1 + 3 * 0.5) / 4)


@pytest.mark.parametrize('score', [1.5, -0.5])
def test_scores_outside_of_0_to_1_have_no_calibration(score):
    columns = of_image([(0, 5, 5, 9, 9)], [(0, 5, 5, 9, 9, score)])
    assert calibration(ranked(columns)) is None
    assert best_threshold(ranked(columns))['score'] == score

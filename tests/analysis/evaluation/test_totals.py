"""AP and AR are those of pycocotools and of CocoMetric."""

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmdet_retina_plus.analysis.evaluation.average_precision import (
    precisions,
    summary,
)
from mmdet_retina_plus.analysis.evaluation.numbers import numbers_of
from tests.helpers.coco_scenes import evaluate, scene
from tests.helpers.evaluations import columns_of, random_scene, records_of


def by_pycocotools(coco, records, metric, max_dets=100) -> COCOeval:
    """Its evaluation; masks have their own area, as in CocoMetric."""
    records = [dict(record) for record in records]
    for record in records:
        del record['bbox' if metric == 'segm' else 'segmentation']
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = coco
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(records), metric)
        evaluator.params.maxDets = [1, 10, max_dets]
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator


def assert_equal_arrays(columns, evaluator: COCOeval) -> None:
    found = precisions(columns)
    for name, ours in found._asdict().items():
        theirs = evaluator.eval[name][..., -1]
        assert np.array_equal(np.where(np.isnan(ours), -1, ours), theirs)


@pytest.mark.parametrize('metric', ['bbox', 'segm'])
@pytest.mark.parametrize('seed', range(3))
def test_every_precision_is_that_of_pycocotools_bit_for_bit(
    seed, metric, tmp_path
):
    """With crowds, ties, a class without objects, and objects of all sizes."""
    path, results = scene(seed, tmp_path)
    coco, records = json.loads(path.read_text()), records_of(results)
    evaluator = by_pycocotools(coco, records, metric)
    columns = columns_of(coco, records, metric)
    assert_equal_arrays(columns, evaluator)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.summarize()
    theirs = [*evaluator.stats[:6], *evaluator.stats[8:]]
    ours = summary(precisions(columns)).values()
    assert [-1 if x is None else x for x in ours] == theirs


def test_detections_beyond_the_best_are_left_out_as_in_pycocotools(tmp_path):
    path, results = scene(0, tmp_path)
    coco, records = json.loads(path.read_text()), records_of(results)
    evaluator = by_pycocotools(coco, records, 'bbox', max_dets=11)
    columns = columns_of(coco, records, max_dets=11)
    assert len(columns.labels) < len(records)
    assert_equal_arrays(columns, evaluator)


def test_totals_are_those_that_coco_metric_logs(tmp_path):
    path, results = scene(1, tmp_path)
    logged = evaluate('CocoMetric', path, results, metric=['bbox', 'segm'])
    coco = json.loads(path.read_text())
    names = dict(AP='mAP', AP50='mAP_50', AP75='mAP_75')
    names |= {f'AP_{size}': f'mAP_{size[0]}' for size in ('small', 'medium')}
    for metric in ('bbox', 'segm'):
        columns = columns_of(coco, records_of(results), metric)
        numbers = numbers_of(columns, ['class 0', 'class 1', 'class 2'])
        for ours, theirs in names.items():
            value = numbers['summary'][ours]
            assert round(value, 3) == logged[f'{metric}_{theirs}']
        assert numbers['by_class'][2]['AP'] is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_small_random_sets_are_scored_as_by_pycocotools(seed):
    coco, records = random_scene(np.random.default_rng(seed))
    with_masks = [dict(record, segmentation=None) for record in records]
    evaluator = by_pycocotools(coco, with_masks, 'bbox')
    assert_equal_arrays(columns_of(coco, records), evaluator)


def test_means_over_thresholds_and_classes_are_the_total(tmp_path):
    path, results = scene(2, tmp_path)
    coco = json.loads(path.read_text())
    columns = columns_of(coco, records_of(results))
    numbers = numbers_of(columns, ['class 0', 'class 1', 'class 2'])
    for key in ('by_threshold', 'by_class'):
        parts = [item['AP'] for item in numbers[key]]
        mean = np.mean([part for part in parts if part is not None])
        assert mean == pytest.approx(numbers['summary']['AP'], abs=1e-12)

"""The same numbers as CocoMetric on random scenes."""

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.datasets.api_wrappers import COCO, COCOeval
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.config import Config

import mmdet_retina_plus
from mmdet_retina_plus.evaluation.faster_coco_metric import (
    fast_evaluator,
    with_globals,
)
from tests.helpers.coco_scenes import SIZE, evaluate, scene

RECALLS = ['AR@100', 'AR@300', 'AR@1000']
RECALLS += ['AR_s@1000', 'AR_m@1000', 'AR_l@1000']
OPTIONS = {
    'bbox': dict(metric='bbox'),
    'classes': dict(metric=['bbox', 'segm'], classwise=True),
    'recall': dict(metric=['segm', 'bbox'], metric_items=['mAP', *RECALLS]),
    'proposals': dict(metric='proposal'),
    'few': dict(metric=['bbox', 'proposal'], proposal_nums=(1, 10, 100)),
}


@pytest.mark.parametrize('options', OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize('seed', range(4))
def test_numbers_and_tables_are_those_of_coco_metric(
    seed, options, tmp_path, capsys
):
    path, results = scene(seed, tmp_path)
    reports = []
    for kind in ('CocoMetric', 'FasterCocoMetric'):
        numbers = evaluate(kind, path, results, **options)
        printed = capsys.readouterr().out.splitlines()
        table = [line for line in printed if 'Average' in line]
        # NaN, of a class without objects, equals itself as text.
        reports.append((repr(numbers), table))
    assert reports[0] == reports[1]
    assert table


def test_more_than_a_hundred_detections_of_a_class(tmp_path):
    """CocoMetric's mAP is of 100 an image, its mAP_50 of 1000."""
    path, results = scene(0, tmp_path, num_classes=2, most=500)
    assert max(len(found['labels']) for _, found in results) > 300
    items = ['mAP', 'mAP_50', *RECALLS]
    ours, theirs = (
        evaluate(kind, path, results, metric_items=items)
        for kind in ('FasterCocoMetric', 'CocoMetric')
    )
    assert ours == theirs
    assert ours['bbox_AR@100'] < ours['bbox_AR@1000']


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
@pytest.mark.parametrize('seed', range(4, 12))
def test_recall_has_the_same_bits_and_precision_but_for_one(
    seed, kind, tmp_path
):
    """pycocotools adds an epsilon to the divisor of a precision."""
    path, results = scene(seed, tmp_path)
    truth = COCO(str(path))
    metric = CocoMetric(ann_file=str(path))
    metric.cat_ids = truth.get_cat_ids()
    files = metric.results2json(
        [found for _, found in results], str(tmp_path / 'results')
    )
    detections = json.loads(Path(files[kind]).read_text())
    found = []
    for make in (COCOeval, fast_evaluator()):
        evaluator = make(truth, truth.loadRes(detections), kind)
        evaluator.params.maxDets = [100, 300, 1000]
        evaluator.evaluate()
        evaluator.accumulate()
        found.append(evaluator.eval)
    theirs, ours = found
    np.testing.assert_array_equal(ours['recall'], theirs['recall'])
    np.testing.assert_allclose(
        ours['precision'], theirs['precision'], rtol=0, atol=np.spacing(1)
    )


def test_nothing_detected_at_all_is_an_empty_answer(tmp_path):
    path, results = scene(0, tmp_path)
    nothing = dict(bboxes=np.zeros((0, 4)), scores=[], labels=np.zeros(0, int))
    empty = [
        (size, dict(nothing, img_id=size['img_id'])) for size, _ in results
    ]
    for kind in ('FasterCocoMetric', 'CocoMetric'):
        assert evaluate(kind, path, empty) == {}


def test_images_without_a_single_object(tmp_path):
    path, results = scene(0, tmp_path)
    coco = json.loads(path.read_text())
    coco['annotations'] = []
    path.write_text(json.dumps(coco))
    ours, theirs = (
        evaluate(kind, path, results)
        for kind in ('FasterCocoMetric', 'CocoMetric')
    )
    assert ours == theirs
    assert set(ours.values()) == {-1.0}


def test_a_second_evaluation_is_like_the_first(tmp_path):
    """As after every epoch, on the same annotations in memory."""
    path, results = scene(1, tmp_path)
    metric = METRICS.build(
        dict(type='mmdet.FasterCocoMetric', ann_file=str(path))
    )
    metric.metrics = ['bbox', 'segm']
    metric.dataset_meta = dict(classes=['class 0', 'class 1', 'class 2'])
    first = metric.compute_metrics(results)
    assert metric.compute_metrics(results) == first


def renumber(coco: dict, parts: str, name: str, number: Callable) -> None:
    for part in coco[parts]:
        part[name] = number(part[name])


def change_annotations(number: Callable) -> Callable:
    return lambda coco: renumber(coco, 'annotations', 'id', number)


def strings_for_images(coco: dict) -> None:
    renumber(coco, 'images', 'id', str)
    renumber(coco, 'annotations', 'image_id', str)


def strings_for_categories(coco: dict) -> None:
    renumber(coco, 'categories', 'id', str)
    renumber(coco, 'annotations', 'category_id', str)


IDS = {
    'negative': (change_annotations(lambda number: -number), 'annotation'),
    'floats': (change_annotations(float), 'annotation'),
    'strings': (change_annotations(str), 'annotation'),
    'beyond-64-bits': (
        change_annotations(lambda number: number + 2**63),
        'annotation',
    ),
    'images': (strings_for_images, 'image'),
    'categories': (strings_for_categories, 'category'),
}


@pytest.mark.parametrize(('change', 'kind'), IDS.values(), ids=IDS)
def test_ids_that_cannot_be_matched_are_refused_with_the_file(
    change, kind, tmp_path
):
    path, _ = scene(0, tmp_path)
    coco = json.loads(path.read_text())
    change(coco)
    path.write_text(json.dumps(coco))
    METRICS.build(dict(type='mmdet.CocoMetric', ann_file=str(path)))
    with pytest.raises(ValueError, match=f'renumber the {kind} ids'):
        METRICS.build(dict(type='mmdet.FasterCocoMetric', ann_file=str(path)))


@pytest.mark.parametrize(
    'number',
    [lambda number: number - 1, lambda number: number + 2**53],
    ids=['from-zero', 'large'],
)
def test_other_whole_numbers_are_ids_like_any(number, tmp_path):
    path, results = scene(0, tmp_path)
    coco = json.loads(path.read_text())
    change_annotations(number)(coco)
    path.write_text(json.dumps(coco))
    ours, theirs = (
        evaluate(kind, path, results)
        for kind in ('FasterCocoMetric', 'CocoMetric')
    )
    assert ours == theirs
    assert ours['bbox_mAP_50'] > 0


def sample(score: float, **changes) -> dict:
    """An image of one object and its detection, as mmengine gives them."""
    box = torch.tensor([[2.0, 2, 30, 30]])
    found = dict(bboxes=box, scores=torch.tensor([score]))
    found['labels'] = torch.tensor([0])
    truth = dict(bbox=box[0].tolist(), bbox_label=0)
    return dict(
        img_id=1,
        ori_shape=(SIZE, SIZE),
        pred_instances=found,
        instances=[truth],
        **changes,
    )


def test_without_a_file_the_ids_are_those_of_the_images():
    metric = METRICS.build(dict(type='mmdet.FasterCocoMetric'))
    metric.dataset_meta = dict(classes=['class 0'])
    with pytest.raises(ValueError, match='renumber the image ids'):
        metric.process({}, [dict(sample(0.5), img_id='a.jpg')])
    metric.process({}, [sample(0.5)])
    assert metric.compute_metrics(metric.results)['bbox_mAP'] == 1


@pytest.mark.parametrize('name', ['scores', 'mask_scores'])
def test_scores_of_nan_are_refused_with_their_batch(name):
    metric = METRICS.build(dict(type='mmdet.FasterCocoMetric'))
    metric.process({}, [sample(0.5)])
    spoilt = sample(0.5)
    spoilt['pred_instances'][name] = torch.tensor([float('nan')])
    with pytest.raises(ValueError, match=f'Image 1 has {name} of NaN'):
        metric.process({}, [sample(0.5), spoilt])


def test_a_metric_can_be_pickled_also_after_an_evaluation(tmp_path):
    path, results = scene(1, tmp_path)
    metric = METRICS.build(
        dict(type='mmdet.FasterCocoMetric', ann_file=str(path))
    )
    metric.dataset_meta = dict(classes=['class 0', 'class 1', 'class 2'])
    first = metric.compute_metrics(results)
    again = pickle.loads(pickle.dumps(metric))
    assert again.compute_metrics(results) == first


def test_coco_metric_itself_stays_as_it_is():
    before = CocoMetric.compute_metrics.__globals__['COCOeval']
    METRICS.build(dict(type='mmdet.FasterCocoMetric'))
    assert CocoMetric.compute_metrics.__globals__['COCOeval'] is before
    assert before is COCOeval


def test_a_name_that_the_function_does_not_read_is_refused():
    with pytest.raises(AssertionError, match='COCOval'):
        with_globals(CocoMetric.compute_metrics, COCOval=None)


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    """When the metric is built, which is before training."""
    monkeypatch.setitem(sys.modules, 'faster_coco_eval', None)
    with pytest.raises(ImportError, match=r'mmdet_retina_plus\[fast\]'):
        METRICS.build(dict(type='mmdet.FasterCocoMetric'))


def test_the_command_line_swaps_the_metric_of_a_config():
    config = Config.fromfile(
        mmdet_retina_plus.config('retinanet_r18_fpn_shapes')
    )
    config.merge_from_dict({'val_evaluator.type': 'FasterCocoMetric'})
    config.val_evaluator.pop('ann_file')
    metric = METRICS.build(config.val_evaluator)
    assert type(metric) is METRICS.get('FasterCocoMetric')
    assert metric.prefix == 'coco'

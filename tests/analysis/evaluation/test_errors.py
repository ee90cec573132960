"""Kinds of errors, what they cost, and confusions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_retina_plus.analysis.evaluation.confusion import confusion_matrix
from mmdet_retina_plus.analysis.evaluation.error_kinds import (
    ERRORS,
    Kind,
    corrected_ap,
    error_costs,
    error_counts,
    object_kinds,
)
from tests.helpers.evaluations import (
    coco_of,
    columns_of,
    detections_of,
    of_image,
    random_scene,
)
from tests.helpers.oracles import read_oracle

OBJECT = (0, 50, 50, 40, 40)
"""Class, x, y, width, height."""
SEEDS = st.integers(0, 2**32)


@pytest.mark.parametrize('case', range(2))
def test_counts_and_gains_are_those_of_tide(case):
    known = read_oracle('tide')['cases'][case]
    columns = columns_of(
        coco_of(known['objects'], images=8),
        detections_of(known['detections']),
    )
    assert corrected_ap(columns) == pytest.approx(known['AP50'], abs=1e-12)
    counts = error_counts(columns).sum(axis=0)
    assert {name: counts[kind] for kind, name in ERRORS.items()} == known[
        'counts'
    ]
    for name, gain in error_costs(columns).items():
        # TIDE's own code cuts what is below.
        assert max(gain, 0) == pytest.approx(known['gains'][name], abs=1e-12)


@pytest.mark.parametrize(
    ('detection', 'kind', 'object_kind'),
    [
        ((0, 50, 50, 40, 40), Kind.RIGHT, Kind.RIGHT),
        ((1, 50, 50, 40, 40), Kind.CLASS, Kind.CLASS),
        ((0, 70, 50, 40, 40), Kind.LOCALISATION, Kind.LOCALISATION),
        ((1, 70, 50, 40, 40), Kind.BOTH, Kind.MISSED),
        ((0, 120, 120, 40, 40), Kind.BACKGROUND, Kind.MISSED),
    ],
)
def test_a_single_detection_has_one_kind(detection, kind, object_kind):
    columns = of_image([OBJECT], [(*detection, 0.9)])
    assert columns.kinds.tolist() == [kind]
    assert object_kinds(columns).tolist() == [object_kind]


def test_the_second_detection_of_an_object_is_a_duplicate():
    columns = of_image([OBJECT], [(*OBJECT, 0.4), (*OBJECT, 0.9)])
    assert columns.scores.tolist() == [0.9, 0.4]
    assert columns.kinds.tolist() == [Kind.RIGHT, Kind.DUPLICATE]


def test_a_detection_of_a_crowd_is_no_error():
    coco = coco_of([(1, *OBJECT), (1, 0, 100, 100, 80, 80)])
    coco['annotations'][1]['iscrowd'] = 1
    columns = columns_of(coco, detections_of([(1, 0, 110, 110, 20, 20, 0.5)]))
    assert columns.kinds.tolist() == [Kind.IGNORED]
    assert object_kinds(columns).tolist() == [Kind.MISSED, Kind.IGNORED]
    assert confusion_matrix(columns, 0).sum() == 1


def test_perfect_detections_have_no_errors():
    coco, _ = random_scene(np.random.default_rng(0))
    found = [
        dict(
            image_id=item['image_id'],
            category_id=item['category_id'],
            bbox=item['bbox'],
            score=0.5,
        )
        for item in coco['annotations']
    ]
    columns = columns_of(coco, found)
    assert corrected_ap(columns) == pytest.approx(1, abs=1e-12)
    assert set(columns.kinds) == {Kind.RIGHT}
    assert set(object_kinds(columns)) == {Kind.RIGHT}
    assert set(error_costs(columns).values()) == {0.0}
    matrix = confusion_matrix(columns, 0)
    assert matrix.sum() == matrix.trace() == len(found)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_every_detection_and_object_has_one_kind_and_all_corrected_is_1(seed):
    coco, records = random_scene(np.random.default_rng(seed))
    columns = columns_of(coco, records)
    assert len(columns.kinds) == len(records)
    assert np.isin(columns.kinds, [Kind.RIGHT, *ERRORS]).all()
    assert Kind.MISSED not in columns.kinds
    right = (columns.kinds == Kind.RIGHT).sum()
    kinds = object_kinds(columns)
    assert (kinds == Kind.RIGHT).sum() == right
    assert len(kinds) == len(coco['annotations'])
    found = {Kind.RIGHT, Kind.MISSED, Kind.CLASS, Kind.LOCALISATION}
    assert set(kinds) <= found
    assert corrected_ap(columns, ERRORS) == pytest.approx(1, abs=1e-12)
    # Detections that are ignored, and objects left out, lower no precision.
    for kind in (Kind.BOTH, Kind.DUPLICATE, Kind.BACKGROUND):
        assert error_costs(columns)[ERRORS[kind]] >= 0


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.floats(0, 1))
def test_rows_are_objects_and_columns_detections(seed, score):
    coco, records = random_scene(np.random.default_rng(seed))
    columns = columns_of(coco, records)
    matrix = confusion_matrix(columns, score)
    labels = [item['category_id'] for item in coco['annotations']]
    assert (
        matrix.sum(axis=1)[:-1].tolist()
        == np.bincount(labels, minlength=3).tolist()
    )
    kept = [x['category_id'] for x in records if x['score'] >= score]
    assert (
        matrix.sum(axis=0)[:-1].tolist()
        == np.bincount(kept, minlength=3).tolist()
    )
    right = (columns.kinds == Kind.RIGHT) & (columns.scores >= score)
    assert matrix.trace() == right.sum()


def test_a_detection_of_another_class_takes_a_free_object():
    """And not one that a detection of its own class has found."""
    other = (1, 50, 50, 40, 40, 0.8)
    assert confusion_matrix(of_image([OBJECT], [other]), 0.5)[0, 1] == 1
    assert confusion_matrix(of_image([OBJECT], [other]), 0.9)[0, 3] == 1
    matrix = confusion_matrix(of_image([OBJECT], [other, (*OBJECT, 0.6)]), 0.5)
    assert (matrix[0, 0], matrix[3, 1], matrix.sum()) == (1, 1, 2)

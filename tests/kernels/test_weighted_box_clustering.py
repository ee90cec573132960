"""Clusters of boxes: published numbers, a plain loop, and laws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from benchmarks.box_clustering import cluster_by_loop, scene
from benchmarks.harness import peak_bytes
from mmdet_retina_plus.fusion import (
    gaussian_patch_weight,
    plateau_patch_weight,
)
from mmdet_retina_plus.kernels.clustering_nms import class_tables
from mmdet_retina_plus.kernels.weighted_box_clustering import (
    WBC_PRESETS,
    weighted_box_clustering,
)
from tests.helpers.oracles import read_oracle

ORACLE = read_oracle('weighted_box_clustering')
EXACT = dict(rtol=0, atol=0)
KEEP_ALL = -1.0
"""A score floor."""


def column(key):
    return [box[key] for box in ORACLE['boxes']]


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def oracle_arguments():
    views = [
        tile + 2 * number
        for tile, number in zip(column('tile'), column('pass'), strict=True)
    ]
    return dict(
        boxes=double(column('box')),
        scores=double(column('score')),
        labels=torch.tensor(column('label')),
        view_ids=torch.tensor(views),
        patch_weight=double(column('patch_weight')),
        n_expected=double(column('coverage')) * ORACLE['passes'],
        iou_thr=ORACLE['iou_thr'],
        score_floor=ORACLE['score_floor'],
    )


@pytest.mark.parametrize('name', ORACLE['variants'])
def test_released_codes_come_to_the_same(name):
    variant = ORACLE['variants'][name]
    result = weighted_box_clustering(
        **oracle_arguments(), **variant['arguments']
    )
    expected = [variant, *ORACLE['alone']]
    for key, values in (('box', result.boxes), ('score', result.scores)):
        wanted = double([cluster[key] for cluster in expected])
        assert_close(values, wanted, rtol=0, atol=1e-9)
    assert result.labels.tolist() == [1, 1, 2]
    assert result.cluster_ids.tolist() == ORACLE['cluster_ids']
    for key in ('found', 'missing'):
        wanted = [cluster[key] for cluster in expected]
        assert getattr(result, key).tolist() == wanted


def test_one_view_of_three_has_a_third_of_its_score():
    """The figure in the toolkit's readme, .33 to .11."""
    result = weighted_box_clustering(
        double([[5, 5, 15, 15]]),
        double([0.33]),
        torch.tensor([0]),
        n_expected=3,
    )
    assert_close(result.scores, double([0.11]))


@pytest.mark.parametrize(
    ('name', 'source'),
    list(
        zip(WBC_PRESETS, ['canonical', 'toolkit', 'nndetection'], strict=True)
    ),
)
def test_presets_are_the_choices_of_paper_and_codes(name, source):
    """The released codes ran with another threshold."""
    variant = ORACLE['variants'][source]
    choices = {**WBC_PRESETS[name], 'iou_thr': ORACLE['iou_thr']}
    result = weighted_box_clustering(**{**oracle_arguments(), **choices})
    assert_close(result.boxes[0], double(variant['box']))
    assert_close(result.scores[0], double(variant['score']))
    assert result.found[0] == variant['found']
    assert result.missing[0] == variant['missing']


def in_tiles():
    origins = double([ORACLE['tile_origins'][tile] for tile in column('tile')])
    return double(column('box')) - origins.repeat(1, 2)


def test_patch_weights_are_the_toolkits():
    weights = gaussian_patch_weight(in_tiles(), ORACLE['patch_shape'])
    assert_close(weights, double(column('patch_weight')), rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ('weigh', 'corner'),
    [
        (gaussian_patch_weight, math.exp(-1 / 1.28)),
        (plateau_patch_weight, 0.5),
    ],
)
def test_patch_weights_fall_from_one_in_the_centre(weigh, corner):
    shape = (40, 80)
    centres = double([[40, 20], [50, 20], [70, 20], [80, 40], [0, 40]])
    weights = weigh(torch.cat([centres - 2, centres + 2], dim=1), shape)
    assert weights[0] == 1
    assert (weights.diff()[:3] <= 0).all()
    assert_close(weights[3:], double([corner, corner]))


def test_the_plateau_ends_halfway_to_a_corner():
    half = math.hypot(30, 40)
    x = double([40 + 0.49 * half, 40 + 0.75 * half, 40 + 5 * half])
    y = torch.full_like(x, 30)
    weights = plateau_patch_weight(torch.stack([x, y, x, y], dim=1), (60, 80))
    assert_close(weights, double([1, 0.75, 0]))


@pytest.mark.parametrize(
    'weigh', [gaussian_patch_weight, plateau_patch_weight]
)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_patch_weights_keep_the_dtype_and_take_no_boxes(weigh, dtype):
    far = torch.tensor([[1000, 1000, 1040, 1040]], dtype=dtype)
    (weight,) = weigh(far, (1024, 1024))
    assert weight.dtype == dtype
    assert 0.4 < weight < 0.6
    assert weigh(far[:0], (1024, 1024)).shape == (0,)


@st.composite
def scenes(draw, distinct_scores=False):
    """Crowded boxes of few classes and views, some without any extent."""
    count = draw(st.integers(0, 25))

    def integers(low, high, unique=False):
        values = st.integers(low, high)
        return draw(
            st.lists(values, min_size=count, max_size=count, unique=unique)
        )

    low = double([integers(0, 30), integers(0, 30)]).t()
    sides = double([integers(0, 25), integers(0, 25)]).t()
    highest = 1000 if distinct_scores else 9
    scores = integers(0, highest, unique=distinct_scores)
    return dict(
        boxes=torch.cat([low, low + sides], dim=1),
        scores=double(scores) / highest,
        labels=torch.tensor(integers(-1, 2)).long(),
        view_ids=torch.tensor(integers(0, 3)).long(),
        patch_weight=double(integers(0, 4)) / 4,
        n_expected=double(integers(0, 5)),
        iou_thr=draw(st.sampled_from([0.0, 1e-5, 0.1, 0.5, 1.0])),
        use_area=draw(st.booleans()),
        pixel_offset=draw(st.sampled_from([0, 1])),
        missing_weight=draw(st.sampled_from([0.0, 0.5, 1.0])),
        count=draw(st.sampled_from(['views', 'boxes'])),
    )


def all_clusters(arguments, **changes):
    return weighted_box_clustering(
        **{**arguments, 'score_floor': KEEP_ALL, **changes}
    )


def assert_same_clusters(result, clusters):
    """Clusters of equal scores may come in any order."""
    assert len(clusters) == len(result.boxes)
    for box, score, label, members, found, missing in clusters:
        row = result.cluster_ids[members[0]]
        belong = (result.cluster_ids == row).nonzero()[:, 0]
        assert belong.tolist() == sorted(members.tolist())
        assert_close(result.boxes[row], torch.as_tensor(box))
        assert result.scores[row].item() == pytest.approx(score)
        assert result.labels[row] == label
        assert result.found[row] == found
        assert result.missing[row].item() == pytest.approx(missing)


@given(scenes())
@settings(deadline=None)
def test_a_plain_loop_comes_to_the_same(arguments):
    clusters = cluster_by_loop(torch, **arguments, score_floor=KEEP_ALL)
    assert_same_clusters(all_clusters(arguments), clusters)


def test_many_classes_of_all_sizes_are_as_the_loop_has_them():
    """More than a block of a class, more classes than a table."""
    torch.manual_seed(0)
    arguments = scene(2500, 900, views=2, stray=0, device='cpu')
    arguments['labels'][:1500] = 900
    result = weighted_box_clustering(**arguments, iou_thr=0.3)
    plain = {key: value.numpy() for key, value in arguments.items()}
    assert_same_clusters(result, cluster_by_loop(np, **plain, iou_thr=0.3))


@given(st.lists(st.integers(1, 400), max_size=40), st.integers(0, 2**31))
@settings(deadline=None)
def test_classes_in_tables_take_twice_their_boxes_at_most(sizes, seed):
    """However their sizes differ; and they are not many tables."""
    torch.manual_seed(seed)
    count = sum(sizes)
    times = torch.tensor(sizes, dtype=torch.long)
    labels = torch.arange(len(sizes)).repeat_interleave(times)
    labels = labels[torch.randperm(count)]
    tables = list(class_tables(labels))
    assert sum(table.numel() for table in tables) <= 2 * count
    octaves = int(max(sizes, default=1)).bit_length()
    assert len(tables) <= octaves + len(sizes) // 32
    seen = []
    for row in (row for table in tables for row in table):
        boxes = row[row < count]
        assert len(labels[boxes].unique()) == 1
        assert (boxes.diff() > 0).all()
        seen += boxes.tolist()
    assert sorted(seen) == list(range(count))


def test_a_chain_is_resolved_from_its_best_end():
    """Each box overlaps the next only, which therefore never leads."""
    x = torch.arange(1000.0) * 6
    boxes = torch.stack([x, x * 0, x + 10, x * 0 + 10], dim=1)
    result = weighted_box_clustering(
        boxes, 1 - x / 1e5, torch.zeros(1000, dtype=torch.long), iou_thr=0.2
    )
    assert len(result.boxes) == 500
    pairs = result.cluster_ids.view(-1, 2)
    assert (pairs[:, 0] == pairs[:, 1]).all()


@given(scenes(), st.integers(0, 2**31))
@settings(deadline=None)
def test_what_is_alone_and_not_missed_stays_as_it_is(arguments, seed):
    torch.manual_seed(seed)
    count = len(arguments['boxes'])
    order = torch.randperm(count)
    arguments['boxes'] = arguments['boxes'] + torch.rand(count, 1)
    arguments['scores'] = (order + 1.0).double() / 7
    result = all_clusters(
        arguments, labels=torch.arange(count), n_expected=None
    )
    assert_close(result.boxes[result.cluster_ids], arguments['boxes'], **EXACT)
    assert_close(
        result.scores[result.cluster_ids], arguments['scores'], **EXACT
    )
    assert (result.found == 1).all()
    assert (result.missing == 0).all()


PER_BOX = (
    'boxes',
    'scores',
    'labels',
    'view_ids',
    'patch_weight',
    'n_expected',
)


@given(scenes(distinct_scores=True), st.integers(0, 2**31))
@settings(deadline=None)
def test_the_order_of_boxes_does_not_matter(arguments, seed):
    torch.manual_seed(seed)
    order = torch.randperm(len(arguments['boxes']))
    shuffled = {key: arguments[key][order] for key in PER_BOX}
    result = all_clusters(arguments)
    again = all_clusters({**arguments, **shuffled})
    assert_close(again.cluster_ids, result.cluster_ids[order], **EXACT)
    ids = torch.zeros(0)
    assert_close(
        again._replace(cluster_ids=ids),
        result._replace(cluster_ids=ids),
        **EXACT,
    )


@given(scenes(), st.integers(-99, 99), st.integers(-99, 99))
@settings(deadline=None)
def test_a_shift_of_all_boxes_shifts_the_result(arguments, x, y):
    shift = double([x, y, x, y])
    result = all_clusters(arguments)
    moved = all_clusters(arguments, boxes=arguments['boxes'] + shift)
    assert_close(
        moved,
        result._replace(boxes=result.boxes + shift),
        rtol=1e-12,
        atol=1e-12,
    )


@given(scenes(), st.integers(-20, 20))
@settings(deadline=None)
def test_a_zoom_of_all_boxes_zooms_the_result(arguments, octaves):
    zoom = 2.0**octaves
    arguments['pixel_offset'] = 0
    result = all_clusters(arguments)
    zoomed = all_clusters(arguments, boxes=arguments['boxes'] * zoom)
    assert_close(zoomed, result._replace(boxes=result.boxes * zoom), **EXACT)


@given(scenes())
@settings(deadline=None)
def test_no_cluster_scores_above_its_best_box(arguments):
    result = all_clusters(arguments)
    best = torch.zeros_like(result.scores).scatter_reduce_(
        0, result.cluster_ids, arguments['scores'], 'amax'
    )
    assert (result.scores <= best).all()
    assert (result.scores.diff() <= 0).all()


@given(scenes(), st.integers(1, 5))
@settings(deadline=None)
def test_missing_views_lower_the_score(arguments, more):
    result = all_clusters(arguments)
    missed = all_clusters(arguments, n_expected=arguments['n_expected'] + more)
    of_boxes = missed.scores[missed.cluster_ids]
    assert (of_boxes <= result.scores[result.cluster_ids]).all()


@given(scenes())
@settings(deadline=None)
def test_each_box_is_in_one_cluster_of_its_class(arguments):
    result = all_clusters(arguments)
    rows = range(len(result.boxes))
    assert set(result.cluster_ids.tolist()) == set(rows)
    assert_close(
        result.labels[result.cluster_ids], arguments['labels'], **EXACT
    )


@given(scenes())
@settings(deadline=None)
def test_boxes_stay_between_those_that_they_are_made_of(arguments):
    result = all_clusters(arguments)
    for row, box in enumerate(result.boxes):
        members = arguments['boxes'][result.cluster_ids == row]
        assert (box >= members.amin(dim=0) - 1e-9).all()
        assert (box <= members.amax(dim=0) + 1e-9).all()


@given(scenes())
@settings(deadline=None)
def test_two_boxes_of_a_view_may_count_once(arguments):
    views = all_clusters(arguments, count='views')
    boxes = all_clusters(arguments, count='boxes')
    by_view = views.found[views.cluster_ids]
    by_box = boxes.found[boxes.cluster_ids]
    assert (by_view <= by_box).all()
    assert int(boxes.found.sum()) == len(arguments['boxes'])


@given(scenes(), st.sampled_from([0, 1e-30, 1e-20]))
@settings(deadline=None)
def test_nothing_is_ever_nan(arguments, factor):
    """Single precision squares to 0 what it can hold itself."""
    for key in ('boxes', 'scores', 'patch_weight', 'n_expected'):
        arguments[key] = arguments[key].float()
    for key in ('boxes', 'scores', 'patch_weight'):
        result = all_clusters({**arguments, key: arguments[key] * factor})
        assert result.boxes.isfinite().all()
        assert result.scores.isfinite().all()
        assert result.missing.isfinite().all()


def two_boxes(**changes):
    """Cluster two boxes of IoU 0.6."""
    boxes = double([[0, 0, 10, 10], [0, 0, 10, 6]])
    labels = torch.zeros(2, dtype=torch.long)
    given = dict(boxes=boxes, scores=double([0.9, 0.6]), labels=labels)
    return {**given, **changes}


def test_without_weights_the_leader_counts_alone():
    result = weighted_box_clustering(
        **two_boxes(patch_weight=double([0, 0])), n_expected=4
    )
    assert_close(result.boxes, double([[0, 0, 10, 10]]))
    assert_close(result.scores, double([0.9 * 2 / 4]))


def test_an_iou_of_the_threshold_is_not_above_it():
    assert len(weighted_box_clustering(**two_boxes(), iou_thr=0.6).boxes) == 2
    assert len(weighted_box_clustering(**two_boxes(), iou_thr=0.59).boxes) == 1


@pytest.mark.parametrize('scores', [[0.3, 0.0], [1e-30, 0.0], [0.3, 1e-45]])
def test_a_floor_of_zero_keeps_whatever_scores(scores):
    arguments = two_boxes(scores=torch.tensor(scores), iou_thr=0.9)
    result = weighted_box_clustering(**arguments, score_floor=0)
    assert len(result.scores) == sum(score > 0 for score in scores)
    assert (result.scores > 0).all()
    assert result.cluster_ids.tolist() == [0, 1 if scores[1] else -1]
    assert len(all_clusters(arguments).scores) == 2


def test_the_floor_itself_is_not_kept():
    result = weighted_box_clustering(
        **two_boxes(), iou_thr=0.9, score_floor=0.6
    )
    assert result.cluster_ids.tolist() == [0, -1]


def test_equal_scores_keep_their_order():
    x = torch.arange(300.0)[torch.randperm(300)] * 20
    boxes = torch.stack([x, x * 0, x + 10, x * 0 + 10], dim=1)
    labels = torch.randint(3, (300,))
    result = weighted_box_clustering(boxes, torch.full((300,), 0.5), labels)
    assert_close(result.boxes, boxes, **EXACT)
    assert_close(result.labels, labels, **EXACT)
    assert_close(result.cluster_ids, torch.arange(300), **EXACT)


def test_the_first_of_equal_scores_leads():
    arguments = two_boxes(scores=double([0.5, 0.5]))
    arguments['patch_weight'] = double([0, 0])
    assert weighted_box_clustering(**arguments).boxes[0, 3] == 10
    arguments['boxes'] = arguments['boxes'].flip(0)
    assert weighted_box_clustering(**arguments).boxes[0, 3] == 6


def test_without_views_each_box_is_one():
    result = weighted_box_clustering(**two_boxes(), n_expected=3)
    assert result.found.tolist() == [2]
    assert result.missing.tolist() == [1]


def test_without_expectations_nothing_is_missing():
    result = weighted_box_clustering(
        **two_boxes(view_ids=torch.tensor([7, 7]))
    )
    assert result.found.tolist() == [1]
    assert result.missing.tolist() == [0]


def test_view_ids_are_names():
    views = torch.tensor([-(2**62), 2**62])
    result = weighted_box_clustering(**two_boxes(view_ids=views))
    assert result.found.tolist() == [2]


@pytest.mark.parametrize(
    'dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
def test_results_have_the_precision_of_the_boxes(dtype):
    arguments = oracle_arguments()
    arguments['boxes'] = arguments['boxes'].to(dtype) * 10
    arguments['scores'] = arguments['scores'].to(dtype)
    result = weighted_box_clustering(**arguments)
    assert result.boxes.dtype == result.scores.dtype == dtype
    expected = double([0.581130397389, 0.165, 0.125])
    assert_close(result.scores.double(), expected, rtol=1e-2, atol=0)
    mixed = weighted_box_clustering(
        **{**arguments, 'boxes': arguments['boxes'].float()}
    )
    assert mixed.boxes.dtype == torch.float32
    assert mixed.scores.dtype == dtype


def test_no_boxes_are_no_clusters():
    result = weighted_box_clustering(
        torch.zeros(0, 4),
        torch.zeros(0),
        torch.zeros(0, dtype=torch.long),
        view_ids=torch.zeros(0, dtype=torch.long),
        n_expected=torch.zeros(0),
    )
    assert [tuple(part.shape) for part in result] == [(0, 4)] + [(0,)] * 5
    assert result.labels.dtype == result.found.dtype == torch.long


def test_results_repeat_to_the_bit_and_inputs_stay():
    arguments = scene(300, 5, views=4, stray=300, device='cpu')
    before = {key: value.clone() for key, value in arguments.items()}
    first, second = (weighted_box_clustering(**arguments) for _ in range(2))
    assert_close(first, second, **EXACT)
    assert_close(arguments, before, **EXACT)


def test_gradients_end_here():
    boxes = two_boxes()['boxes'].requires_grad_()
    result = weighted_box_clustering(**two_boxes(boxes=boxes))
    assert not result.boxes.requires_grad


def test_memory_grows_with_boxes_not_with_their_pairs():
    """The flags of 5,000 boxes against each other would be 25 MB."""
    torch.manual_seed(0)
    arguments = scene(0, 1, views=1, stray=5000, device='cpu')
    peak = peak_bytes(
        lambda: weighted_box_clustering(**arguments), torch.device('cpu')
    )
    assert peak < 8e6


@pytest.mark.parametrize(
    ('changes', 'way_out'),
    [
        (dict(boxes=torch.zeros(2, 5)), 'one image'),
        (dict(boxes=torch.zeros(1, 2, 4)), 'one image'),
        (dict(boxes=torch.zeros(2, 4).long()), 'float'),
        (dict(boxes=torch.full((2, 4), math.nan)), 'isfinite'),
        (dict(boxes=torch.full((2, 4), math.inf)), 'isfinite'),
        (dict(boxes=double([[0, 0, 1e200, 1e200]] * 2)), 'too large'),
        (dict(scores=torch.tensor([1, 1])), 'float'),
        (dict(scores=torch.tensor([0.5, math.nan])), 'isfinite'),
        (dict(scores=torch.tensor([0.5, -0.1])), 'sigmoid'),
        (dict(scores=torch.rand(3)), r'scores must have shape \(2,\)'),
        (dict(scores=torch.rand(2, 1)), r'scores must have shape \(2,\)'),
        (dict(labels=torch.zeros(2)), 'long'),
        (dict(labels=torch.zeros(1).long()), r'labels must have shape'),
        (dict(view_ids=torch.zeros(2)), 'long'),
        (dict(view_ids=torch.zeros(3).long()), 'view_ids must have shape'),
        (dict(patch_weight=torch.rand(3)), 'patch_weight must be one number'),
        (dict(patch_weight=torch.tensor([1, -1])), 'patch_weight must be fin'),
        (dict(n_expected=torch.rand(2, 2)), 'n_expected must be one number'),
        (dict(n_expected=math.nan), 'n_expected must be finite'),
        (dict(n_expected=-1), 'n_expected must be finite'),
        (dict(iou_thr=1.5), 'iou_thr must be from 0 to 1'),
        (dict(iou_thr=-0.1), 'iou_thr must be from 0 to 1'),
        (dict(iou_thr=math.nan), 'iou_thr must be from 0 to 1'),
        (dict(pixel_offset=-1), 'pixel_offset must be 0 or more'),
        (dict(missing_weight=math.inf), 'missing_weight must be 0 or more'),
        (dict(score_floor=-math.inf), 'use -1'),
        (dict(count='pixels'), "'views' or 'boxes', not 'pixels'"),
    ],
)
def test_bad_input_is_told_the_way_out(changes, way_out):
    with pytest.raises(ValueError, match=way_out):
        weighted_box_clustering(**two_boxes(**changes))

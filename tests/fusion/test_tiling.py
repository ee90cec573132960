"""Tiles of an image, how often they cover it, and what they found as one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import InstanceData
from torch.testing import assert_close

from mmdet_retina_plus.fusion import (
    coverage_map,
    gaussian_patch_weight,
    mean_coverage,
    merge_tiles,
    tile_windows,
    weighted_box_clustering,
)
from mmdet_retina_plus.fusion.tiling import PATCH_WEIGHTS

SHAPE = (60, 80)
sides = st.integers(1, 70)
tilings = st.tuples(
    st.tuples(sides, sides),
    st.integers(1, 40),
    st.floats(0, 1, exclude_max=True),
)


def found(boxes=(), scores=(), labels=()):
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor(scores, dtype=torch.float32),
        labels=torch.tensor(labels, dtype=torch.long),
    )


def assert_same(left, right):
    for key in ('bboxes', 'scores', 'labels'):
        assert_close(left[key], right[key])


@settings(deadline=None)
@given(tilings)
def test_tiles_cover_every_pixel_and_none_outside(tiling):
    shape, tile, overlap = tiling
    windows = tile_windows(shape, tile, overlap)
    limit = torch.tensor(shape[::-1]).repeat(2)
    assert ((windows >= 0) & (windows <= limit)).all()
    assert coverage_map(windows, shape).min() >= 1


@settings(deadline=None)
@given(tilings)
def test_tiles_are_equal_and_none_comes_twice(tiling):
    shape, tile, overlap = tiling
    windows = tile_windows(shape, tile, overlap)
    height, width = (min(side, tile) for side in shape)
    size = torch.tensor([width, height])
    assert (windows[:, 2:] - windows[:, :2] == size).all()
    assert len(windows.unique(dim=0)) == len(windows)


def test_the_last_tiles_move_inwards():
    windows = tile_windows((40, 90), tile=40, overlap=0.25)
    expected = [[0, 0, 40, 40], [30, 0, 70, 40], [50, 0, 90, 40]]
    assert windows.tolist() == expected


def test_tiles_come_row_by_row():
    corners = tile_windows((4, 4), tile=2, overlap=0)[:, :2]
    assert corners.tolist() == [[0, 0], [2, 0], [0, 2], [2, 2]]


@pytest.mark.parametrize('shape', [(30, 20), (40, 40), (1, 1)])
def test_a_small_image_is_one_window(shape):
    windows = tile_windows(shape, tile=40)
    assert windows.tolist() == [[0, 0, shape[1], shape[0]]]


@pytest.mark.parametrize(('tile', 'overlap'), [(0, 0), (8, 1), (8, -0.1)])
def test_impossible_tiles_are_refused(tile, overlap):
    with pytest.raises(ValueError, match=r'tile|overlap'):
        tile_windows(SHAPE, tile, overlap)


@settings(deadline=None)
@given(tilings)
def test_the_map_counts_tiles(tiling):
    shape, tile, overlap = tiling
    windows = tile_windows(shape, tile, overlap)
    expected = torch.zeros(shape, dtype=torch.long)
    for x1, y1, x2, y2 in windows.tolist():
        expected[y1:y2, x1:x2] += 1
    assert coverage_map(windows, shape).equal(expected)


numbers = st.floats(-20, 120, width=32)


@settings(deadline=None)
@given(
    st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=5),
    st.integers(7, 50),
    st.integers(0, 2**31),
)
def test_coverage_of_a_box_is_the_mean_of_the_map(corners, tile, seed):
    """Where windows are no grid, and some come again, too."""
    boxes = torch.tensor(corners).reshape(-1, 4)
    boxes = torch.cat([boxes[:, :2], boxes.view(-1, 2, 2).amax(1)], dim=1)
    windows = tile_windows(SHAPE, tile, 0.4)
    torch.manual_seed(seed)
    windows = windows[torch.randint(len(windows), (len(windows),))]
    pixels = coverage_map(windows, SHAPE).double()
    expected = []
    for x1, y1, x2, y2 in boxes.tolist():
        left = min(max(int(x1 // 1), 0), SHAPE[1] - 1)
        top = min(max(int(y1 // 1), 0), SHAPE[0] - 1)
        right = max(int(-(-x2 // 1)), left + 1)
        bottom = max(int(-(-y2 // 1)), top + 1)
        expected.append(pixels[top:bottom, left:right].mean())
    assert_close(
        mean_coverage(boxes, windows, SHAPE),
        torch.tensor(expected, dtype=torch.float64),
    )


def test_coverage_of_the_worked_example():
    """Two tiles of 64 px in an image of 96 x 64 px."""
    windows = tile_windows((64, 96), tile=64, overlap=0.5)
    boxes = torch.tensor([[40.0, 20, 60, 40], [5, 5, 15, 15], [28, 0, 36, 8]])
    coverage = mean_coverage(boxes, windows, (64, 96))
    assert coverage.tolist() == [2, 1, 1.5]


@pytest.mark.parametrize('fuse', ['wbc', 'nms'])
@pytest.mark.parametrize('shape', [(200, 300), (40, 30)])
def test_a_single_view_stays_as_it_is(fuse, shape):
    boxes = [[1, 1, 20, 20], [2, 2, 21, 21], [22, 5, 30, 9]]
    view = found(boxes, [0.2, 0.9, 0.001], [0, 0, 1])
    windows = tile_windows(shape, tile=400)
    assert_same(merge_tiles([view], windows, shape, fuse), view[[1, 0, 2]])


@pytest.mark.parametrize('fuse', ['wbc', 'nms'])
def test_boxes_apart_are_moved_and_kept(fuse):
    windows = tile_windows((40, 80), tile=40, overlap=0)
    views = [
        found([[1, 2, 11, 12]], [0.4], [1]),
        found([[3, 4, 13, 14]], [0.8], [0]),
    ]
    merged = merge_tiles(views, windows, (40, 80), fuse)
    expected = [[43, 4, 53, 14], [1, 2, 11, 12]]
    assert_same(merged, found(expected, [0.8, 0.4], [0, 1]))


@pytest.mark.parametrize('fuse', ['wbc', 'nms'])
@pytest.mark.parametrize('views', [1, 2, 3])
def test_views_without_detections(fuse, views):
    windows = tile_windows((40, 80), tile=40, overlap=0)[[0] * views]
    merged = merge_tiles([found()] * views, windows, (40, 80), fuse)
    assert merged.bboxes.shape == (0, 4)
    assert merged.scores.shape == merged.labels.shape == (0,)
    some = found([[1, 2, 11, 12]], [0.9], [1])
    merged = merge_tiles(
        [some, *[found()] * (views - 1)], windows, (40, 80), fuse
    )
    score = 0.9 / views if fuse == 'wbc' else 0.9
    assert_same(merged, found([[1, 2, 11, 12]], [score], [1]))


def test_an_object_that_both_tiles_see_keeps_its_score():
    windows = tile_windows((40, 60), tile=40, overlap=0.5)
    views = [
        found([[24, 10, 36, 30]], [0.6], [0]),
        found([[4, 10, 16, 30]], [0.8], [0]),
    ]
    merged = merge_tiles(views, windows, (40, 60))
    assert_close(merged.bboxes, torch.tensor([[24.0, 10, 36, 30]]))
    assert 0.6 < merged.scores.item() < 0.8


def test_a_box_that_one_of_two_tiles_sees_scores_half():
    windows = tile_windows((40, 60), tile=40, overlap=0.5)
    views = [found([[24, 10, 36, 30]], [0.6], [0]), found()]
    assert_close(merge_tiles(views, windows, (40, 60)).scores.item(), 0.3)


def test_where_only_one_tile_looks_one_is_enough():
    windows = tile_windows((40, 60), tile=40, overlap=0.5)
    views = [found([[2, 10, 14, 30]], [0.6], [0]), found()]
    assert_close(merge_tiles(views, windows, (40, 60)).scores.item(), 0.6)


def test_two_models_are_twice_as_many_views():
    windows = tile_windows((40, 60), tile=40, overlap=0.5)
    views = [found([[24, 10, 36, 30]], [0.8], [0]), found()]
    merged = merge_tiles(
        [*views, found(), found()], windows.repeat(2, 1), (40, 60)
    )
    assert_close(merged.scores.item(), 0.2)


def test_a_box_cut_by_the_border_gives_way_to_the_whole():
    """Which lies in the other tile's centre; both weigh by IoU and area."""
    windows = tile_windows((64, 96), tile=64, overlap=0.5)
    whole, cut = [50, 20, 74, 40], [50, 20, 64, 40]
    views = [
        found([cut], [0.5], [0]),
        found([[whole[0] - 32, 20, whole[2] - 32, 40]], [0.9], [0]),
    ]
    merged = merge_tiles(views, windows, (64, 96), patch_weight='gaussian')
    unweighted = merge_tiles(views, windows, (64, 96), patch_weight=None)
    right = merged.bboxes[0, 2]
    assert unweighted.bboxes[0, 2] < right < whole[2]
    assert unweighted.scores[0] < merged.scores[0]


def random_views(windows, boxes=6):
    views = []
    for x1, y1, x2, y2 in windows.tolist():
        limit = torch.tensor([x2 - x1, y2 - y1]).float()
        corner = torch.rand(boxes, 2) * limit
        other = corner + torch.rand(boxes, 2) * (limit - corner)
        views.append(
            InstanceData(
                bboxes=torch.cat([corner, other], dim=1),
                scores=torch.rand(boxes),
                labels=torch.randint(0, 2, (boxes,)),
            )
        )
    return views


@pytest.mark.parametrize('kind', PATCH_WEIGHTS)
def test_it_is_weighted_box_clustering_with_what_tiles_know(kind):
    windows = tile_windows(SHAPE, tile=40, overlap=0.5).repeat(2, 1)
    views = random_views(windows)
    joined = InstanceData.cat(views)
    boxes = joined.bboxes + windows[:, :2].repeat(1, 2).repeat_interleave(
        6, dim=0
    )
    half = len(windows) // 2
    clusters = weighted_box_clustering(
        boxes,
        joined.scores,
        joined.labels,
        view_ids=torch.arange(len(windows)).repeat_interleave(6),
        patch_weight=PATCH_WEIGHTS[kind](joined.bboxes, (40, 40)),
        n_expected=2 * mean_coverage(boxes, windows[:half], SHAPE),
        iou_thr=0.1,
    )
    merged = merge_tiles(views, windows, SHAPE, patch_weight=kind, iou_thr=0.1)
    assert len(merged) > 3
    assert_close(merged.bboxes, clusters.boxes)
    assert_close(merged.scores, clusters.scores)
    assert_close(merged.labels, clusters.labels)


def test_a_whole_image_has_no_centre():
    """Only tiles cut objects."""
    shape = (30, 30)
    windows = tile_windows(shape, tile=40).repeat(2, 1)
    views = random_views(windows)
    assert_same(
        merge_tiles(views, windows, shape, patch_weight='gaussian'),
        merge_tiles(views, windows, shape, patch_weight=None),
    )
    boxes = views[0].bboxes
    assert (gaussian_patch_weight(boxes, shape) < 1).all()


@pytest.mark.parametrize('fuse', ['wbc', 'nms'])
@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**16))
def test_results_do_not_depend_on_the_order_of_views(fuse, seed):
    torch.manual_seed(seed)
    windows = tile_windows(SHAPE, tile=40, overlap=0.3)
    views = random_views(windows, boxes=2)
    order = torch.randperm(len(views)).tolist()
    assert_same(
        merge_tiles(views, windows, SHAPE, fuse),
        merge_tiles([views[i] for i in order], windows[order], SHAPE, fuse),
    )


def test_nms_keeps_the_best_box_of_a_class_unchanged():
    windows = tile_windows((40, 60), tile=40, overlap=0.5)
    views = [
        found([[24, 10, 36, 30], [24, 10, 36, 30]], [0.6, 0.5], [0, 1]),
        found([[4, 11, 16, 31]], [0.8], [0]),
    ]
    merged = merge_tiles(views, windows, (40, 60), 'nms', iou_threshold=0.5)
    boxes = [[24, 11, 36, 31], [24, 10, 36, 30]]
    assert_same(merged, found(boxes, [0.8, 0.5], [0, 1]))
    every = merge_tiles(views, windows, (40, 60), 'nms', iou_threshold=0.99)
    assert len(every) == 3

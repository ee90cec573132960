from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.prior_generators import YOLOAnchorGenerator
from torch import Tensor
from torch.testing import assert_close

from mmdet_retina_plus.assigners import BestPriorAssigner
from mmdet_retina_plus.kernels.boxes import shape_iou
from tests.helpers.assigning import (
    anchor_levels,
    as_on_gpu,
    assert_same,
    assign,
    ignored_priors,
    random_boxes,
)

YOLO = YOLOAnchorGenerator(
    strides=[32, 16, 8],
    base_sizes=[
        [(116, 90), (156, 198), (373, 326)],
        [(30, 61), (62, 45), (59, 119)],
        [(10, 13), (16, 30), (33, 23)],
    ],
)
WIDTH, HEIGHT = 160, 96


def yolo_levels() -> list[Tensor]:
    return YOLO.grid_priors([(3, 5), (6, 10), (12, 20)], device='cpu')


def darknet(boxes: Tensor) -> list[int]:
    """Prior of each object as darknet has it, one at a time."""
    priors = []
    for x1, y1, x2, y2 in boxes.tolist():
        width, height = x2 - x1, y2 - y1
        best, start = (-1.0, -1), 0
        for (stride, _), shapes in zip(
            YOLO.strides, YOLO.base_sizes, strict=True
        ):
            columns, rows = WIDTH // stride, HEIGHT // stride
            column = min(max(int((x1 + x2) / 2 // stride), 0), columns - 1)
            row = min(max(int((y1 + y2) / 2 // stride), 0), rows - 1)
            for index, (w, h) in enumerate(shapes):
                shared = min(width, w) * min(height, h)
                fit = shared / (width * height + w * h - shared)
                place = start + 3 * (row * columns + column) + index
                best = max(best, (fit, place), key=lambda pair: pair[0])
            start += 3 * columns * rows
        priors.append(best[1])
    return priors


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 30),
    integers=st.booleans(),
    on_gpu=st.booleans(),
)
def test_every_object_has_darknets_prior(seed, count, integers, on_gpu):
    """Some of these boxes have their centre outside of the image."""
    boxes = random_boxes(count, seed, HEIGHT, WIDTH, integers)
    boxes[:, 2:] = boxes[:, 2:].maximum(boxes[:, :2] + 1)
    boxes += 30.0 * (seed % 3 - 1)
    levels = yolo_levels()
    expected = torch.zeros(sum(map(len, levels)), dtype=torch.long)
    # A later object takes the place of an earlier one.
    for index, prior in enumerate(darknet(boxes.double())):
        expected[prior] = index + 1
    with as_on_gpu() if on_gpu else nullcontext():
        result = assign(
            BestPriorAssigner(),
            torch.cat(levels),
            boxes,
            num_level_priors=[len(level) for level in levels],
        )
    assert torch.equal(result.gt_inds, expected)


def test_shapes_are_compared_about_one_centre():
    # 20 x 40 and 40 x 20 share 20 x 20 of 1200.
    first, second = torch.tensor([20.0, 40]), torch.tensor([40.0, 20])
    assert_close(shape_iou(first, second), torch.tensor(1 / 3))


def test_there_is_no_threshold_and_one_positive_an_object():
    boxes = torch.tensor([[0.0, 0, 2, 1], [9, 9, 900, 12], [5, 5, 150, 90]])
    levels = anchor_levels(192, 192)
    result = assign(BestPriorAssigner(), torch.cat(levels), boxes)
    for index in (1, 2, 3):
        assert (result.gt_inds == index).sum() == 1


def test_retinanets_anchors_belong_to_the_nearest_place():
    """They lie on the corners of cells."""
    levels = anchor_levels(192, 192)
    # 32 pixels wide on P3, from x of 40 on nearer to 40 than to 32.
    boxes = torch.tensor([[19.9, 24, 51.9, 56], [20.0, 24, 52, 56]])
    boxes[0] += torch.tensor([-100.0, 0, -100, 0])
    result = assign(BestPriorAssigner(), torch.cat(levels), boxes)
    for index, centre in enumerate([(0, 40), (40, 40)]):
        (prior,) = torch.cat(levels)[result.gt_inds == index + 1]
        assert ((prior[:2] + prior[2:]) / 2).tolist() == list(centre)
        # Square, of the first of three scales.
        assert (prior[2:] - prior[:2]).tolist() == [32, 32]


def test_the_later_of_two_equal_objects_has_the_prior():
    boxes = random_boxes(1).repeat(2, 1)
    result = assign(BestPriorAssigner(), torch.cat(anchor_levels()), boxes)
    assert result.gt_inds.unique().tolist() == [0, 2]


def test_an_object_without_area_has_none():
    boxes = torch.tensor([[40.0, 40, 40, 90], [30, 30, 20, 20]])
    result = assign(BestPriorAssigner(), torch.cat(anchor_levels()), boxes)
    assert not result.gt_inds.any()


def test_positives_stay_in_regions_where_the_rest_is_ignored():
    priors, boxes = torch.cat(anchor_levels()), random_boxes(9)
    regions = random_boxes(2, 1)
    inside = ignored_priors(priors, regions, 0.5)
    plain = assign(BestPriorAssigner(), priors, boxes).gt_inds
    result = assign(
        BestPriorAssigner(ignore_iof_thr=0.5), priors, boxes, regions
    )
    expected = plain.masked_fill(inside & (plain == 0), -1)
    assert (expected == -1).any()
    assert torch.equal(result.gt_inds, expected)


def test_levels_are_read_off_where_nobody_tells():
    levels, boxes = anchor_levels(), random_boxes(9)
    told = assign(
        BestPriorAssigner(),
        torch.cat(levels),
        boxes,
        num_level_priors=[len(level) for level in levels],
    )
    assert_same(assign(BestPriorAssigner(), torch.cat(levels), boxes), told)
    with as_on_gpu():
        assert_same(
            assign(BestPriorAssigner(), torch.cat(levels), boxes), told
        )


def test_priors_that_are_no_grid_are_refused():
    levels = anchor_levels(64, 64)
    with pytest.raises(ValueError, match='is not a grid'):
        assign(
            BestPriorAssigner(),
            torch.cat([levels[0][5:], *levels[1:]]),
            random_boxes(3),
            num_level_priors=[len(levels[0]) - 5, *map(len, levels[1:])],
        )

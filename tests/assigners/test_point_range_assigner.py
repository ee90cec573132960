import math
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.dense_heads import FCOSHead
from mmdet.models.task_modules.prior_generators import MlvlPointGenerator
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor
from torch.testing import assert_close

from mmdet_retina_plus.assigners import PointRangeAssigner
from tests.helpers.assigning import (
    anchor_levels,
    as_on_gpu,
    assert_same,
    assign,
    ignored_priors,
    objects,
    random_boxes,
    tiles,
)
from tests.helpers.samples import STRIDES

HEIGHT, WIDTH = 192, 256
RANGES = ((-1, 16), (16, 32), (32, 64), (64, 128), (128, math.inf))
"""Finer than FCOS's, so that objects of small images meet all levels."""


def squares() -> list[Tensor]:
    """One square anchor a location, about FCOS's points."""
    return anchor_levels(HEIGHT, WIDTH, per_location=1, center_offset=0.5)


def fcos_labels(boxes: Tensor, radius: float | None) -> Tensor:
    """Labels of mmdet's FCOSHead; the background has 11."""
    head = FCOSHead(
        num_classes=11,
        in_channels=8,
        feat_channels=8,
        strides=STRIDES,
        regress_ranges=RANGES,
        center_sampling=radius is not None,
        center_sample_radius=radius or 1.5,
        norm_cfg=None,
    )
    points = MlvlPointGenerator(STRIDES).grid_priors(
        [
            (math.ceil(HEIGHT / stride), math.ceil(WIDTH / stride))
            for stride in STRIDES
        ],
        device='cpu',
    )
    labels, _ = head.get_targets(points, [objects(boxes)])
    return torch.cat(labels)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 40),
    integers=st.booleans(),
    repeated=st.booleans(),
    radius=st.sampled_from([None, 0.5, 1.5, 3.0]),
    tile=st.sampled_from([100, 2**16]),
    on_gpu=st.booleans(),
)
def test_targets_are_those_of_mmdets_fcos(
    seed, count, integers, repeated, radius, tile, on_gpu
):
    boxes = random_boxes(count, seed, HEIGHT, WIDTH, integers)
    if repeated:
        boxes = torch.cat([boxes, boxes.flip(0)])
    levels = squares()
    assigner = PointRangeAssigner(RANGES, radius)
    sizes = [len(level) for level in levels]
    with (
        as_on_gpu() if on_gpu else nullcontext(),
        tiles(CPU_TILE=tile, MIN_CHUNK=32, GPU_TILE=tile),
    ):
        result = assign(
            assigner, torch.cat(levels), boxes, num_level_priors=sizes
        )
    background = result.labels.eq(-1)
    assert torch.equal(background, result.gt_inds == 0)
    labels = result.labels.masked_fill(background, 11)
    assert torch.equal(labels, fcos_labels(boxes, radius))


def test_the_defaults_are_those_of_the_paper():
    """Objects of 100 and 300 pixels around the same point."""
    boxes = torch.tensor([[78.0, 78, 178, 178], [0, 0, 300, 300]])
    levels = anchor_levels(512, 512, per_location=1, center_offset=0.5)
    gt_inds = assign(
        PointRangeAssigner(), torch.cat(levels), boxes
    ).gt_inds.split([len(level) for level in levels])
    # From a point at the middle 50 pixels to the farthest side; 100 at most.
    assert set(gt_inds[0].tolist()) == {0, 1}
    assert set(gt_inds[1].tolist()) == {0, 1}
    assert 1 not in gt_inds[2]
    # 150 to 300 pixels.
    assert set(gt_inds[2].tolist()) == {0, 2}
    assert set(gt_inds[3].tolist()) == {0, 2}
    assert not gt_inds[4].any()


def test_a_radius_counts_strides_of_its_level():
    box = torch.tensor([[0.0, 0, 60, 60]])
    levels = anchor_levels(64, 64, per_location=1, center_offset=0.5)
    gt_inds = assign(
        PointRangeAssigner(center_sample_radius=1.5), torch.cat(levels), box
    ).gt_inds
    centres = (torch.cat(levels)[:, :2] + torch.cat(levels)[:, 2:]) / 2
    expected = (centres - 30).abs().amax(dim=1) < 12
    expected[len(levels[0]) :] = False
    assert torch.equal(gt_inds == 1, expected)


def test_all_priors_of_a_location_are_assigned_alike():
    levels, boxes = anchor_levels(), random_boxes(9)
    gt_inds = assign(PointRangeAssigner(), torch.cat(levels), boxes).gt_inds
    per_location = gt_inds.view(-1, 9)
    assert torch.equal(per_location, per_location[:, :1].expand(-1, 9))
    assert per_location.any()


def test_overlaps_are_with_the_assigned_or_else_the_best():
    priors, boxes = torch.cat(squares()), random_boxes(9, 0, HEIGHT, WIDTH)
    result = assign(PointRangeAssigner(RANGES), priors, boxes)
    matrix = bbox_overlaps(boxes, priors)
    positive = result.gt_inds > 0
    expected = matrix.amax(dim=0)
    assert (matrix[result.gt_inds - 1].amax() > 0).item()
    own = matrix.gather(0, (result.gt_inds - 1).clamp(min=0)[None])[0]
    assert_close(
        result.max_overlaps, own.where(positive, expected), rtol=0, atol=0
    )
    assert (own < expected)[positive].any()


def test_priors_in_regions_are_ignored():
    priors, boxes = torch.cat(squares()), random_boxes(9, 0, HEIGHT, WIDTH)
    regions = random_boxes(2, 1, HEIGHT, WIDTH)
    inside = ignored_priors(priors, regions, 0.5)
    assert inside.any()
    plain = assign(PointRangeAssigner(RANGES), priors, boxes)
    result = assign(
        PointRangeAssigner(RANGES, ignore_iof_thr=0.5), priors, boxes, regions
    )
    assert torch.equal(result.gt_inds, plain.gt_inds.masked_fill(inside, -1))


def test_levels_are_read_off_where_nobody_tells():
    levels, boxes = squares(), random_boxes(9, 0, HEIGHT, WIDTH)
    assigner, priors = PointRangeAssigner(RANGES, 1.5), torch.cat(levels)
    sizes = [len(level) for level in levels]
    told = assign(assigner, priors, boxes, num_level_priors=sizes)
    assert_same(assign(assigner, priors, boxes), told)
    with as_on_gpu():
        assert_same(
            assign(assigner, priors, boxes, num_level_priors=sizes), told
        )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(regress_ranges=((64, -1),), strides=(8,)), 'regress_ranges'),
        (dict(center_sample_radius=0), 'center_sample_radius is 0'),
        (dict(strides=(8, 16)), '2 strides for 5'),
    ],
)
def test_what_cannot_be_is_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        PointRangeAssigner(**options)


def test_every_level_needs_a_range():
    with pytest.raises(ValueError, match='5 levels of priors for 2'):
        assign(
            PointRangeAssigner(RANGES[:2], strides=(8, 16)),
            torch.cat(squares()),
            random_boxes(3),
        )

"""ATSS by kernels: bit for bit what the torch path and mmdet find."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.assigners import ATSSAssigner

from mmdet_retina_plus.assigners import StreamingATSSAssigner
from mmdet_retina_plus.kernels import atss
from tests.helpers.assigning import (
    anchor_levels,
    as_on_gpu,
    assert_same,
    assign,
    random_boxes,
)
from tests.helpers.kernels import by_kernels, to, to_cpu


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 20),
    topk=st.integers(1, 30),
    per_location=st.sampled_from([1, 9]),
    integers=st.booleans(),
    min_positives=st.integers(0, 2),
    thr=st.sampled_from([-1, 0.3, 0.9]),
)
def test_equals_the_torch_path(
    device, seed, count, topk, per_location, integers, min_positives, thr
):
    levels = anchor_levels(64, 96, per_location)
    boxes = random_boxes(count, seed, 64, 96, integers)
    regions = random_boxes(seed % 3, seed + 1, 64, 96)
    sizes = [len(level) for level in levels]
    assigner = StreamingATSSAssigner(
        topk, min_positives=min_positives, ignore_iof_thr=thr
    )
    scenery = torch.cat(levels), boxes, regions
    expected = assign(assigner, *scenery, num_level_priors=sizes)
    with by_kernels(device):
        result = assign(
            assigner, *to(device, *scenery), num_level_priors=sizes
        )
    assert_same(to_cpu(result), expected)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 12))
def test_equals_mmdet_on_the_same_device(device, seed, count):
    levels = anchor_levels(96, 128, per_location=1)
    boxes = random_boxes(count, seed, 96, 128)
    sizes = [len(level) for level in levels]
    scenery = to(device, torch.cat(levels), boxes)
    with by_kernels(device):
        result = assign(
            StreamingATSSAssigner(), *scenery, num_level_priors=sizes
        )
    stock = assign(ATSSAssigner(9), *scenery, num_level_priors=sizes)
    assert torch.equal(result.gt_inds, stock.gt_inds)
    assert torch.equal(result.labels, stock.labels)
    positive = stock.gt_inds > 0
    assert torch.equal(
        result.max_overlaps[positive], stock.max_overlaps[positive]
    )


@pytest.mark.parametrize(
    ('count', 'sizes'),
    [(1, [1]), (1, [1024]), (7, [300, 9, 1]), (1000, [1000, 24])],
)
def test_any_number_of_ground_truths(device, count, sizes):
    priors = random_boxes(sum(sizes), count)
    boxes = random_boxes(count, 1)
    assigner = StreamingATSSAssigner()
    expected = assign(assigner, priors, boxes, num_level_priors=sizes)
    with by_kernels(device, GTS=512, BOXES=256):
        result = assign(
            assigner, *to(device, priors, boxes), num_level_priors=sizes
        )
    assert_same(to_cpu(result), expected)


def test_sizes_of_chunks_and_programs_change_nothing(device):
    priors, boxes = random_boxes(900), random_boxes(4, 1)
    levels = [(700, 9), (200, 20)]
    ignored = torch.rand(900) < 0.1
    results = []
    for chunk, gts in ((256, 1), (64, 4), (16, 16)):
        with by_kernels(device, MIN_CHUNK=chunk, GTS=gts):
            results.append(
                atss.find_candidates(
                    *to(device, boxes, priors, ignored), levels
                )
            )
    for result in results[1:]:
        assert all(map(torch.equal, result, results[0]))


def test_candidates_come_by_distance_then_by_index(device):
    prior = torch.tensor([[0.0, 0, 8, 8]])
    shift = torch.tensor([[3.0], [1], [2], [1], [1], [3], [0]])
    boxes = prior.clone()
    with by_kernels(device):
        found = atss.find_candidates(
            *to(device, boxes, prior + shift), None, [(7, 6)]
        )
    assert found.prior.flatten().tolist() == [6, 1, 3, 4, 2, 0]


def test_topk_can_count_places(device):
    priors, boxes = torch.cat(anchor_levels(64, 96)), random_boxes(3, 0, 64)
    assigner = StreamingATSSAssigner(9, topk_per_location=True)
    expected = assign(assigner, priors, boxes)
    with by_kernels(device):
        result = assign(assigner, *to(device, priors, boxes))
    assert_same(to_cpu(result), expected)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_boxes_that_are_not_finite_overlap_nothing(device, value):
    levels = anchor_levels(96, 128)
    boxes, priors = random_boxes(3), torch.cat(levels)
    boxes[1, 2] = priors[7, 0] = value
    sizes = [len(level) for level in levels]
    assigner = StreamingATSSAssigner()
    with as_on_gpu():
        expected = assign(assigner, priors, boxes, num_level_priors=sizes)
    with by_kernels(device):
        result = assign(
            assigner, *to(device, priors, boxes), num_level_priors=sizes
        )
    assert_same(to_cpu(result), expected)


def test_half_precision_boxes_are_compared_in_single(device):
    levels = anchor_levels(96, 128)
    sizes = [len(level) for level in levels]
    priors, boxes = torch.cat(levels).half(), random_boxes(8, 0, 96).half()
    assigner = StreamingATSSAssigner()
    expected = assign(assigner, priors, boxes, num_level_priors=sizes)
    with by_kernels(device):
        result = assign(
            assigner, *to(device, priors, boxes), num_level_priors=sizes
        )
    assert_same(to_cpu(result), expected)


def test_nothing_from_nothing(device):
    none = torch.zeros(0, 4, device=device)
    some = random_boxes(3).to(device)
    with by_kernels(device):
        for priors, boxes in ((none, some), (some, none), (none, none)):
            result = assign(
                StreamingATSSAssigner(),
                priors,
                boxes,
                num_level_priors=[len(priors)],
            )
            assert not result.gt_inds.any()
            assert len(result.labels) == len(priors)


def test_nothing_waits_for_the_gpu(card):
    levels = anchor_levels()
    sizes = [len(level) for level in levels]
    scenery = torch.cat(levels), random_boxes(50), random_boxes(2)
    scenery = to(card, *scenery)
    assigner = StreamingATSSAssigner(min_positives=1, ignore_iof_thr=0.5)
    torch.cuda.set_sync_debug_mode('error')
    try:
        assign(assigner, *scenery, num_level_priors=sizes)
    finally:
        torch.cuda.set_sync_debug_mode('default')

from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.assigners import AssignResult, ATSSAssigner
from mmdet.models.task_modules.assigners.atss_assigner import (
    bbox_center_distance,
)
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor
from torch.testing import assert_close

from mmdet_retina_plus.assigners import StreamingATSSAssigner
from tests.helpers.assigning import (
    anchor_levels,
    as_on_gpu,
    assert_same,
    assign,
    ignored_priors,
    random_boxes,
    tiles,
)
from tests.helpers.oracles import read_oracle

ORACLE = read_oracle('atss')
TINY = torch.tensor([[2.0, 2, 6, 6]])
"""Holds no centre of an anchor at stride 8."""


def positives(result: AssignResult) -> list[int]:
    """Number of positives of each ground truth."""
    counts = result.gt_inds.clamp(min=0).bincount(minlength=result.num_gts + 1)
    return counts[1:].tolist()


def naive_atss(
    levels: list[Tensor], boxes: Tensor, topk: int, ignored: Tensor
) -> AssignResult:
    """The rule, one ground truth after the other, with whole matrices."""
    priors = torch.cat(levels)
    overlaps = bbox_overlaps(priors, boxes)
    distances = bbox_center_distance(boxes, priors)
    distances[ignored] = 1e8
    centre = (priors[:, :2] + priors[:, 2:]) / 2
    wanted = torch.full_like(overlaps, -1)
    for gt, box in enumerate(boxes):
        start, candidates = 0, []
        for level in levels:
            stop = start + len(level)
            order = distances[start:stop, gt].sort(stable=True).indices
            candidates.append(order[:topk] + start)
            start = stop
        candidates = torch.cat(candidates)
        values = overlaps[candidates, gt]
        # A mean along the first of two axes adds in mmdet's order.
        column = values[:, None]
        threshold = (column.mean(0) + column.std(0)).nan_to_num(values[0])
        depth = torch.cat([centre - box[:2], box[2:] - centre], dim=1)
        inside = depth.amin(dim=1)[candidates] > 0.01
        chosen = candidates[(values >= threshold) & inside]
        wanted[chosen, gt] = overlaps[chosen, gt]
    best, gt = wanted.max(dim=1)
    positive = (best >= 0) & ~ignored
    gt_inds = torch.where(positive, gt + 1, -ignored.long())
    labels = torch.where(positive, (gt * 7 + 3) % 11, -1)
    max_overlaps = torch.where(positive, best, overlaps.amax(dim=1))
    return AssignResult(len(boxes), gt_inds, max_overlaps, labels)


def test_oracle() -> None:
    gt = torch.tensor([ORACLE['gt']]).float()
    priors = torch.tensor(ORACLE['priors']).float()
    result = assign(StreamingATSSAssigner(9), priors, gt)
    assert (result.gt_inds == 1).tolist() == ORACLE['positive']
    assert_close(
        result.max_overlaps,
        torch.tensor(ORACLE['overlaps']),
        rtol=0,
        atol=1e-7,
    )


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 12),
    topk=st.integers(1, 30),
    repeated=st.booleans(),
    on_gpu=st.booleans(),
)
def test_equals_mmdet_where_no_distances_tie(
    seed: int, count: int, topk: int, repeated: bool, on_gpu: bool
) -> None:
    levels = anchor_levels(96, 128, per_location=1)
    boxes = random_boxes(count, seed, 96, 128)
    if repeated:
        boxes = torch.cat([boxes, boxes])
    priors, sizes = torch.cat(levels), [len(level) for level in levels]
    expected = assign(
        ATSSAssigner(topk), priors, boxes, num_level_priors=sizes
    )
    with as_on_gpu() if on_gpu else nullcontext():
        result = assign(StreamingATSSAssigner(topk), priors, boxes)
    positive = expected.gt_inds > 0
    # Elsewhere mmdet has -1e8.
    expected.max_overlaps = torch.where(
        positive,
        expected.max_overlaps,
        bbox_overlaps(priors, boxes).amax(dim=1),
    )
    assert_same(result, expected)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 8),
    topk=st.integers(1, 90),
    integers=st.booleans(),
    thr=st.sampled_from([-1, 0.3, 0.9]),
    on_gpu=st.booleans(),
    tile=st.integers(64, 5000),
)
def test_equals_the_rule_with_ties_by_index(
    seed: int,
    count: int,
    topk: int,
    integers: bool,
    thr: float,
    on_gpu: bool,
    tile: int,
) -> None:
    levels = anchor_levels(64, 96)
    boxes = random_boxes(count, seed, 64, 96, integers)
    regions = random_boxes(seed % 3, seed + 1, 64, 96)
    if integers:
        levels = [level.round() for level in levels]
    priors, sizes = torch.cat(levels), [len(level) for level in levels]
    ignored = ignored_priors(priors, regions, thr)
    assigner = StreamingATSSAssigner(topk, ignore_iof_thr=thr)
    with (
        as_on_gpu() if on_gpu else nullcontext(),
        tiles(CPU_TILE=tile, GPU_TILE=tile),
    ):
        result = assign(
            assigner, priors, boxes, regions, num_level_priors=sizes
        )
    assert_same(result, naive_atss(levels, boxes, topk, ignored))


def test_topk_can_count_places() -> None:
    priors, boxes = torch.cat(anchor_levels()), random_boxes(8)
    by_place = assign(StreamingATSSAssigner(9, True), priors, boxes)
    assert_same(by_place, assign(StreamingATSSAssigner(81), priors, boxes))
    by_prior = assign(StreamingATSSAssigner(9), priors, boxes)
    assert sum(positives(by_place)) > 3 * sum(positives(by_prior))


def test_a_single_candidate_is_its_own_threshold() -> None:
    prior = torch.tensor([[0.0, 0, 16, 16]])
    result = assign(
        StreamingATSSAssigner(9), prior, torch.tensor([[2.0, 2, 18, 18]])
    )
    assert result.gt_inds.tolist() == [1]


def test_priors_in_regions_are_never_positive() -> None:
    levels = anchor_levels(per_location=1)
    priors, boxes = torch.cat(levels), random_boxes(5)
    sizes = [len(level) for level in levels]
    everywhere = torch.tensor([[-999.0, -999, 999, 999]])
    options = dict(topk=9, ignore_iof_thr=0.5)
    assigner = StreamingATSSAssigner(min_positives=1, **options)
    for some in (boxes, boxes[:0]):
        result = assign(assigner, priors, some, everywhere)
        assert (result.gt_inds == -1).all()
        assert (result.labels == -1).all()
    # mmdet makes some of the only candidates positive.
    stock = assign(
        ATSSAssigner(**options),
        priors,
        boxes,
        everywhere,
        num_level_priors=sizes,
    )
    assert (stock.gt_inds > 0).any()


def test_the_rest_of_an_image_is_as_without_the_region() -> None:
    priors, boxes = torch.cat(anchor_levels()), random_boxes(5)
    region = torch.tensor([[0.0, 0, 40, 256]])
    assigner = StreamingATSSAssigner(9, ignore_iof_thr=0.5)
    without = assign(StreamingATSSAssigner(9), priors, boxes)
    result = assign(assigner, priors, boxes, region)
    inside = ignored_priors(priors, region, 0.5)
    assert inside.any()
    assert torch.equal(result.gt_inds == -1, inside)
    assert_close(result.max_overlaps, without.max_overlaps)


def test_half_precision_boxes_are_compared_in_single() -> None:
    levels = anchor_levels()
    sizes = [len(level) for level in levels]
    priors, boxes = torch.cat(levels).half(), random_boxes(8).half()
    regions = random_boxes(2, seed=1).half()
    assigner = StreamingATSSAssigner(9, ignore_iof_thr=0.5)
    result = assign(assigner, priors, boxes, regions, num_level_priors=sizes)
    expected = assign(
        assigner,
        priors.float(),
        boxes.float(),
        regions.float(),
        num_level_priors=sizes,
    )
    assert sum(positives(result)) > 0
    assert_same(result, expected)


def test_levels_must_add_up_to_the_priors() -> None:
    priors, boxes = torch.cat(anchor_levels(64, 64)), random_boxes(2)
    with pytest.raises(ValueError, match=r'add up to 775.*774 priors'):
        assign(StreamingATSSAssigner(9), priors, boxes, num_level_priors=[775])


def test_levels_without_priors_are_left_out() -> None:
    levels, boxes = anchor_levels(64, 64), random_boxes(3, 0, 64, 64)
    sizes = [len(level) for level in levels]
    priors = torch.cat(levels)
    assigner = StreamingATSSAssigner(9, topk_per_location=True)
    assert_same(
        assign(assigner, priors, boxes, num_level_priors=[0, *sizes, 0]),
        assign(assigner, priors, boxes, num_level_priors=sizes),
    )


@pytest.mark.parametrize('options', [dict(topk=0), dict(min_positives=-1)])
def test_counts_below_their_least_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match='at least'):
        StreamingATSSAssigner(**options)


def test_a_ground_truth_without_positives_takes_its_best_candidate() -> None:
    priors = torch.cat(anchor_levels(per_location=1))
    assert positives(assign(StreamingATSSAssigner(9), priors, TINY)) == [0]
    result = assign(StreamingATSSAssigner(9, min_positives=2), priors, TINY)
    chosen = (result.gt_inds > 0).nonzero().squeeze(1)
    best = bbox_overlaps(priors, TINY)[:, 0].topk(2).values
    assert torch.equal(result.max_overlaps[chosen].sort().values, best.flip(0))


def test_none_is_taken_at_overlap_0() -> None:
    priors = torch.cat(anchor_levels())
    far = torch.tensor([[9000.0, 9000, 9001, 9001]])
    result = assign(StreamingATSSAssigner(9, min_positives=3), priors, far)
    assert positives(result) == [0]


@pytest.mark.parametrize('count', [20, 400])
def test_filling_up_takes_nothing_from_anybody(count: int) -> None:
    priors = torch.cat(anchor_levels(per_location=1))
    boxes = random_boxes(count)
    before = assign(StreamingATSSAssigner(9), priors, boxes)
    after = assign(StreamingATSSAssigner(9, min_positives=2), priors, boxes)
    held = before.gt_inds > 0
    assert torch.equal(after.gt_inds[held], before.gt_inds[held])
    for was, now in zip(positives(before), positives(after), strict=True):
        assert was <= now <= max(was, 2)


def test_filling_up_leaves_few_without() -> None:
    priors = torch.cat(anchor_levels(per_location=1))
    boxes = random_boxes(100)
    before = positives(assign(StreamingATSSAssigner(9), priors, boxes))
    assigner = StreamingATSSAssigner(9, min_positives=1)
    after = positives(assign(assigner, priors, boxes))
    assert before.count(0) > 5
    assert after.count(0) == 0


def test_filling_up_does_not_depend_on_blocks() -> None:
    priors = torch.cat(anchor_levels(per_location=1))
    boxes = random_boxes(100)
    assigner = StreamingATSSAssigner(9, min_positives=2)
    with as_on_gpu(), tiles(GPU_TILE=1):
        in_eights = assign(assigner, priors, boxes)
    assert_same(assign(assigner, priors, boxes), in_eights)


def test_the_first_of_two_equal_ground_truths_has_all() -> None:
    priors = torch.cat(anchor_levels(per_location=1))
    twins = torch.tensor([[60.0, 60, 140, 130]]).repeat(2, 1)
    first, second = positives(assign(StreamingATSSAssigner(9), priors, twins))
    assert first > 0
    assert second == 0
    assigner = StreamingATSSAssigner(9, min_positives=3)
    assert positives(assign(assigner, priors, twins)) == [max(first, 3), 3]


@pytest.mark.parametrize('on_gpu', [False, True])
@pytest.mark.parametrize('seed', range(10))
def test_an_object_does_not_care_how_many_others_there_are(
    on_gpu: bool, seed: int
) -> None:
    """All IoUs are equal here, so the threshold's last bit decides."""
    generator = torch.Generator().manual_seed(seed)
    priors = anchor_levels(per_location=1)[0]
    centre = 80 + 96 * torch.rand(1, 2, generator=generator)
    side = 60 + 60 * torch.rand(1, 2, generator=generator)
    box = torch.cat([centre - side, centre + side], dim=1)
    elsewhere = random_boxes(33, seed) + 1000
    assigner = StreamingATSSAssigner()
    outcomes = set()
    for count in (0, 1, 2, 4, 8, 16, 32, 33):
        for boxes in ([box, elsewhere[:count]], [elsewhere[:count], box]):
            with as_on_gpu() if on_gpu else nullcontext():
                result = assign(
                    assigner,
                    priors,
                    torch.cat(boxes),
                    num_level_priors=[len(priors)],
                )
            outcomes.add(tuple((result.gt_inds > 0).tolist()))
    assert len(outcomes) == 1

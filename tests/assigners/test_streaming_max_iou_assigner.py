from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import HorizontalBoxes, bbox_overlaps
from torch import Tensor

from mmdet_retina_plus.assigners import StreamingMaxIoUAssigner
from tests.helpers.assigning import (
    NOWHERE,
    OPTIONS,
    SCENES,
    anchor_levels,
    as_on_gpu,
    assert_same,
    assign,
    ignored_priors,
    random_boxes,
    scene,
    tiles,
)
from tests.helpers.oracles import read_oracle

ORACLE = read_oracle('matcher')
RULES = {
    'retinamask': dict(best_match='own_argmax'),
    'mmdet_all': dict(),
    'mmdet_first': dict(gt_max_assign_all=False),
    'mmdet_floor': dict(min_pos_iou=1e-6),
}


@TASK_UTILS.register_module()
class GivenOverlaps:
    """Takes ground truths for rows of overlaps with priors ``eye(4)``."""

    def __call__(self, gts: Tensor, priors: Tensor, mode: str) -> Tensor:
        return gts @ priors.T


@pytest.mark.parametrize(
    'case', ORACLE['cases'], ids=lambda case: case['case']
)
@pytest.mark.parametrize('rule', RULES)
def test_given_overlaps_are_decided_as_by_the_original(
    case: dict, rule: str
) -> None:
    # We claim nothing at overlap 0, which mmdet's floor of 1e-6 does as well.
    guarded = case['case'] in ORACLE['zero_overlap_cases']
    column = 'mmdet_floor' if guarded else rule
    assigner = StreamingMaxIoUAssigner(
        ORACLE['pos_iou_thr'],
        ORACLE['neg_iou_thr'],
        iou_calculator=dict(type='GivenOverlaps'),
        **RULES[rule],
    )
    overlaps = torch.tensor(case['overlaps'], dtype=torch.float)
    result = assign(assigner, torch.eye(4), overlaps)
    # 1-based there, with 0 for background and -1 for ignored.
    names = {-1: 0, -2: -1}
    expected = [names.get(index, index + 1) for index in case[column]]
    assert result.gt_inds.tolist() == expected


@settings(max_examples=300, deadline=None)
@given(options=OPTIONS, settings=SCENES, on_gpu=st.booleans())
def test_equals_mmdet_to_the_bit(
    options: dict, settings: dict, on_gpu: bool
) -> None:
    priors, boxes, regions = scene(**settings)
    expected = assign(MaxIoUAssigner(**options), priors, boxes, regions)
    with as_on_gpu() if on_gpu else nullcontext():
        result = assign(
            StreamingMaxIoUAssigner(**options), priors, boxes, regions
        )
    assert_same(result, expected)


@settings(max_examples=80, deadline=None)
@given(
    settings=SCENES,
    tile=st.integers(50, 5000),
    chunk=st.integers(10, 300),
    block=st.integers(1, 12),
    every=st.booleans(),
)
def test_tiles_of_any_size_give_the_same(
    settings: dict, tile: int, chunk: int, block: int, every: bool
) -> None:
    priors, boxes, regions = scene(**settings)
    assigner = StreamingMaxIoUAssigner(
        0.5, 0.4, ignore_iof_thr=0.5, gt_max_assign_all=every
    )
    expected = assign(assigner, priors, boxes, regions)
    with tiles(CPU_TILE=tile, MIN_CHUNK=chunk, MAX_BLOCK=block):
        assert_same(assign(assigner, priors, boxes, regions), expected)
    with as_on_gpu(), tiles(GPU_TILE=tile):
        assert_same(assign(assigner, priors, boxes, regions), expected)


@pytest.mark.parametrize('every', [True, False])
def test_a_last_prior_that_is_ignored_has_no_copies_that_count(every):
    """The last chunk of priors is filled up with copies of the last one."""
    box = torch.tensor([[0.0, 0, 8, 8]])
    priors = torch.tensor([[0.0, 0, 8, 2], [0, 0, 8, 3], [0, 0, 8, 4]])
    region = torch.tensor([[0.0, 3, 8, 9]])
    options = dict(ignore_iof_thr=0.2, gt_max_assign_all=every)
    expected = assign(MaxIoUAssigner(0.9, 0.1, **options), priors, box, region)
    assert expected.gt_inds.tolist() == [-1, 1, -1]
    with tiles(CPU_TILE=1, MIN_CHUNK=2):
        assigner = StreamingMaxIoUAssigner(0.9, 0.1, **options)
        assert_same(assign(assigner, priors, box, region), expected)


@pytest.mark.parametrize('every', [True, False])
@pytest.mark.parametrize('best_match', ['trigger_gt', 'own_argmax'])
def test_a_ground_truth_that_overlaps_no_anchor_claims_none(
    every: bool, best_match: str
) -> None:
    priors = torch.cat(anchor_levels(256, 256))
    assert len(priors) == 12_276
    assigner = StreamingMaxIoUAssigner(
        0.5, 0.4, gt_max_assign_all=every, best_match=best_match
    )
    seen = random_boxes(3)
    alone = assign(assigner, priors, seen)
    last = assign(assigner, priors, torch.cat([seen, NOWHERE]))
    first = assign(assigner, priors, torch.cat([NOWHERE, seen]))
    assert torch.equal(last.gt_inds, alone.gt_inds)
    shifted = alone.gt_inds + len(NOWHERE) * (alone.gt_inds > 0)
    assert torch.equal(first.gt_inds, shifted)
    assert not assign(assigner, priors, NOWHERE).gt_inds.any()


def test_mmdet_gives_such_a_ground_truth_all_anchors() -> None:
    priors = torch.cat(anchor_levels(256, 256))
    result = assign(MaxIoUAssigner(0.5, 0.4), priors, NOWHERE[:1])
    assert (result.gt_inds == 1).all()


@pytest.mark.parametrize(
    ('given_threshold', 'same'), [([0.1, 0.4], (0.1, 0.4)), (1, 1.0)]
)
def test_lists_and_integers_are_thresholds(
    given_threshold: object, same: object
) -> None:
    priors, boxes = torch.cat(anchor_levels()), random_boxes(5)
    assert_same(
        assign(StreamingMaxIoUAssigner(1, given_threshold), priors, boxes),
        assign(MaxIoUAssigner(1.0, same), priors, boxes),
    )


@pytest.mark.parametrize(
    'options',
    [
        dict(neg_iou_thr='0.4'),
        dict(neg_iou_thr=None),
        dict(neg_iou_thr=[0.4]),
        dict(neg_iou_thr=(0.1, 0.2, 0.4)),
        dict(neg_iou_thr=(0.4, 0.1)),
        dict(pos_iou_thr=[0.5]),
        dict(best_match='argmax'),
        dict(perm_repeat_gt_cfg=dict(iou_thr=0.7)),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_by_name(options: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        StreamingMaxIoUAssigner(
            **{'pos_iou_thr': 0.5, 'neg_iou_thr': 0.4, **options}
        )


@pytest.mark.parametrize('of_prior', [True, False])
def test_regions_count_without_ground_truth(of_prior: bool) -> None:
    priors, regions = torch.cat(anchor_levels()), random_boxes(3)
    assigner = StreamingMaxIoUAssigner(
        0.5, 0.4, ignore_iof_thr=0.5, ignore_wrt_candidates=of_prior
    )
    result = assign(assigner, priors, torch.zeros(0, 4), regions)
    pair = (priors, regions) if of_prior else (regions, priors)
    shares = bbox_overlaps(*pair, mode='iof').amax(dim=1 if of_prior else 0)
    assert (shares > 0.5).any()
    assert torch.equal(result.gt_inds, -(shares > 0.5).long())
    assert torch.equal(result.max_overlaps, -(shares > 0.5).float())
    assert (result.labels == -1).all()


@settings(max_examples=80, deadline=None)
@given(settings=SCENES, floor=st.sampled_from([0.0, 0.3]))
def test_own_argmax_restores_as_retinamask(
    settings: dict, floor: float
) -> None:
    priors, boxes, regions = scene(**settings)
    assigner = StreamingMaxIoUAssigner(
        0.5, 0.4, min_pos_iou=floor, best_match='own_argmax'
    )
    overlaps = bbox_overlaps(boxes, priors)
    best, own = overlaps.max(dim=0)
    expected = own + 1
    expected[best < 0.5] = -1
    expected[best < 0.4] = 0
    for row in overlaps:
        if row.max() >= floor and row.max() > 0:
            restored = row == row.max()
            expected[restored] = own[restored] + 1
    result = assign(assigner, priors, boxes, regions)
    assert torch.equal(result.gt_inds, expected)


@pytest.mark.parametrize(
    'calculator',
    [
        dict(type='BboxOverlaps2D', scale=512.0, dtype='fp16'),
        dict(type='BboxOverlaps2D_GLIP'),
    ],
    ids=lambda config: config['type'],
)
@pytest.mark.parametrize('of_prior', [True, False])
def test_other_calculators_see_blocks_of_rows(
    calculator: dict, of_prior: bool
) -> None:
    priors = torch.cat(anchor_levels(96, 128))
    boxes, regions = random_boxes(20, 0, 96, 128), random_boxes(2, 1, 96, 128)
    options = dict(
        pos_iou_thr=0.5,
        neg_iou_thr=0.4,
        iou_calculator=calculator,
        # BboxOverlaps2D_GLIP knows no shares, whatever mode is asked for.
        ignore_iof_thr=0.5,
        ignore_wrt_candidates=of_prior,
    )
    with tiles(GPU_TILE=8 * len(priors)):
        result = assign(
            StreamingMaxIoUAssigner(**options), priors, boxes, regions
        )
    assert_same(
        result, assign(MaxIoUAssigner(**options), priors, boxes, regions)
    )


def test_half_precision_boxes_are_compared_in_single() -> None:
    priors = torch.cat(anchor_levels()).half()
    boxes = random_boxes(20).half()
    assigner = StreamingMaxIoUAssigner(0.5, 0.4)
    assert_same(
        assign(assigner, priors, boxes),
        assign(MaxIoUAssigner(0.5, 0.4), priors.float(), boxes.float()),
    )


def test_a_threshold_on_objects_for_the_gpu_changes_nothing() -> None:
    priors, boxes = torch.cat(anchor_levels()), random_boxes(5)
    assert_same(
        assign(
            StreamingMaxIoUAssigner(0.5, 0.4, gpu_assign_thr=1), priors, boxes
        ),
        assign(StreamingMaxIoUAssigner(0.5, 0.4), priors, boxes),
    )


def test_box_types_are_boxes() -> None:
    priors, boxes = torch.cat(anchor_levels()), random_boxes(5)
    assigner = StreamingMaxIoUAssigner(0.5, 0.4, ignore_iof_thr=0.5)
    assert_same(
        assign(
            assigner,
            HorizontalBoxes(priors),
            HorizontalBoxes(boxes),
            HorizontalBoxes(boxes[:1] + 20),
        ),
        assign(assigner, priors, boxes, boxes[:1] + 20),
    )


def test_priors_in_regions_are_ignored_and_marked() -> None:
    priors, boxes = torch.cat(anchor_levels()), random_boxes(5)
    regions = random_boxes(2, seed=1)
    assigner = StreamingMaxIoUAssigner(0.5, 0.4, ignore_iof_thr=0.5)
    result = assign(assigner, priors, boxes, regions)
    inside = ignored_priors(priors, regions, 0.5)
    assert inside.any()
    assert (result.gt_inds[inside] == -1).all()
    assert (result.max_overlaps[inside] == -1).all()

"""MaxIoU by kernels: bit for bit what the torch path and mmdet find."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmengine.structures import InstanceData

from mmdet_retina_plus.assigners import (
    StreamingATSSAssigner,
    StreamingMaxIoUAssigner,
)
from mmdet_retina_plus.kernels import max_iou, overlap_matching
from mmdet_retina_plus.kernels.boxes import (
    coordinates,
    iou,
    share_of_first,
    share_of_second,
)
from tests.helpers.assigning import (
    NOWHERE,
    OPTIONS,
    SCENES,
    Launches,
    anchor_levels,
    as_on_gpu,
    assert_same,
    assign,
    random_boxes,
    scene,
)
from tests.helpers.kernels import by_kernels, launched, to, to_cpu


@settings(max_examples=25, deadline=None)
@given(
    options=OPTIONS,
    settings=SCENES,
    best_match=st.sampled_from(['trigger_gt', 'own_argmax']),
)
def test_equals_the_torch_path(device, options, settings, best_match):
    scenery = scene(**settings | dict(double=False))
    assigner = StreamingMaxIoUAssigner(**options, best_match=best_match)
    expected = assign(assigner, *scenery)
    with by_kernels(device):
        result = assign(assigner, *to(device, *scenery))
    assert_same(to_cpu(result), expected)


@settings(max_examples=10, deadline=None)
@given(options=OPTIONS, settings=SCENES)
def test_equals_mmdet_on_the_same_device(device, options, settings):
    scenery = to(device, *scene(**settings | dict(double=False)))
    with by_kernels(device):
        result = assign(StreamingMaxIoUAssigner(**options), *scenery)
    assert_same(result, assign(MaxIoUAssigner(**options), *scenery))


@pytest.mark.parametrize(
    ('num_boxes', 'num_priors'),
    [(1, 1), (1, 1024), (2, 65), (33, 63), (500, 70), (1000, 1024)],
)
@pytest.mark.parametrize('all_ties', [True, False])
def test_any_number_of_boxes(device, num_boxes, num_priors, all_ties):
    boxes = random_boxes(num_boxes, num_priors, integers=True)
    priors = random_boxes(num_priors, num_boxes, integers=True)
    ignored = torch.rand(num_priors) < 0.1
    labels = torch.randint(9, (num_boxes,))
    matches = overlap_matching.match(
        coordinates(boxes),
        coordinates(priors),
        ignored=ignored,
        low_quality=overlap_matching.LowQuality(0.1, all_ties),
    )
    # Nothing is positive but by a low-quality match.
    rule = max_iou.Rule(2.0, 0.0, 2.0, True, 0.1, all_ties, False)
    with by_kernels(device, BOXES=256):
        inds, overlaps, found = max_iou.assign(
            *to(device, boxes, labels, priors, ignored), rule
        )
    matched = matches.matched_by >= 0
    assert torch.equal(overlaps.cpu(), matches.overlaps)
    assert torch.equal(inds.cpu()[matched], matches.matched_by[matched] + 1)
    assert torch.equal(inds.cpu()[~matched], -ignored[~matched].long())
    expected = torch.where(matched, labels[matches.matched_by], -1)
    assert torch.equal(found.cpu(), expected)


@pytest.mark.parametrize('mode', max_iou.MODES)
def test_size_of_a_tile_changes_nothing(device, mode):
    boxes, priors = random_boxes(40), random_boxes(100, 1)
    ignored = torch.rand(100) < 0.1
    shares = dict(
        iou=iou,
        iof=share_of_first,
        iof_prior=share_of_second,
    )
    expected = overlap_matching.match(
        coordinates(boxes),
        coordinates(priors),
        shares[mode],
        ignored,
    )
    for sizes in (dict(PRIORS=64, BOXES=32), dict(PRIORS=128, BOXES=8)):
        with by_kernels(device, **sizes):
            overlaps, nearest = max_iou.best_overlaps(
                *to(device, boxes, priors), mode, *to(device, ignored)
            )
        assert torch.equal(overlaps.cpu(), expected.overlaps)
        assert torch.equal(nearest.cpu(), expected.nearest)


def test_half_precision_boxes_are_compared_in_single(device):
    priors = torch.cat(anchor_levels(96, 128)).half()
    boxes = random_boxes(20, 0, 96, 128).half()
    assigner = StreamingMaxIoUAssigner(0.5, 0.4)
    expected = assign(assigner, priors.float(), boxes.float())
    with by_kernels(device):
        result = assign(assigner, *to(device, priors, boxes))
    assert_same(to_cpu(result), expected)


@pytest.mark.parametrize(
    'assigner',
    [StreamingMaxIoUAssigner(0.5, 0.4), StreamingATSSAssigner()],
)
def test_layout_and_further_columns_of_boxes_are_free(device, assigner):
    levels = anchor_levels(64, 96, 1)
    boxes = to(device, torch.cat(levels), random_boxes(5, 0, 64, 96))
    more = [torch.cat([x, x[:, :1]], dim=1) for x in boxes]
    turned = [x.t().contiguous().t() for x in boxes]
    with by_kernels(device):
        expected, *results = (
            assign(assigner, *some, num_level_priors=[*map(len, levels)])
            for some in (boxes, more, turned)
        )
    for result in results:
        assert_same(result, expected)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_boxes_that_are_not_finite_overlap_nothing(device, value):
    boxes, priors = random_boxes(3), torch.cat(anchor_levels(96, 128))
    boxes[1, 2] = priors[7, 0] = value
    assigner = StreamingMaxIoUAssigner(0.5, 0.4)
    with as_on_gpu():
        expected = assign(assigner, priors, boxes)
    with by_kernels(device):
        result = assign(assigner, *to(device, priors, boxes))
    assert_same(to_cpu(result), expected)


@pytest.mark.parametrize('all_ties', [True, False])
def test_a_box_that_overlaps_no_prior_matches_none(device, all_ties):
    priors = torch.cat(anchor_levels(96, 128))
    assigner = StreamingMaxIoUAssigner(0.5, 0.4, gt_max_assign_all=all_ties)
    with by_kernels(device):
        result = assign(assigner, *to(device, priors, NOWHERE))
    assert not result.gt_inds.any()


@pytest.mark.parametrize(
    ('assigner', 'expected'),
    [
        (StreamingMaxIoUAssigner(0.5, 0.4), 'best assign'),
        (StreamingATSSAssigner(), 'hull nearest decide best resolve'),
    ],
)
def test_launches_do_not_grow_with_the_objects(device, assigner, expected):
    priors = torch.cat(anchor_levels(64, 64, 1))
    operations = []
    # The first call fills caches.
    for count in (2, 1, 20):
        inputs = to(device, priors, random_boxes(count, 0, 64, 64))
        with (
            by_kernels(device),
            launched() as names,
            Launches() as mode,
        ):
            assign(assigner, *inputs, num_level_priors=[64, 16, 4, 1, 1])
        assert names == [f'_{name}_kernel' for name in expected.split()]
        operations.append(mode.count)
    assert operations[1] == operations[2]


@pytest.mark.parametrize('assigner', [StreamingMaxIoUAssigner(0.5, 0.4)])
def test_nothing_from_nothing(device, assigner):
    none = torch.zeros(0, 4, device=device)
    some = random_boxes(3).to(device)
    with by_kernels(device):
        for priors in (none, some):
            for boxes in (none, some):
                if len(priors) and len(boxes):
                    continue
                result = assign(assigner, priors, boxes)
                assert not result.gt_inds.any()
                assert len(result.labels) == len(priors)


def test_nothing_waits_for_the_gpu(card):
    priors = torch.cat(anchor_levels()).to(card)
    assigner = StreamingMaxIoUAssigner(0.5, 0.4, ignore_iof_thr=0.5)
    boxes, regions = random_boxes(50).to(card), random_boxes(2).to(card)
    torch.cuda.set_sync_debug_mode('error')
    try:
        assign(assigner, priors, boxes, regions)
    finally:
        torch.cuda.set_sync_debug_mode('default')


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int32])
@pytest.mark.parametrize(
    'assigner',
    [StreamingMaxIoUAssigner(0.5, 0.4), StreamingATSSAssigner()],
)
def test_labels_may_be_any_integers(device, assigner, dtype):
    priors = torch.cat(anchor_levels(96, 128)).to(device)
    gt = InstanceData(bboxes=random_boxes(5, 0, 96, 128).to(device))
    gt.labels = torch.arange(5, device=device)
    with by_kernels(device):
        expected = assigner.assign(InstanceData(priors=priors), gt)
        gt.labels = gt.labels.to(dtype)
        result = assigner.assign(InstanceData(priors=priors), gt)
    assert torch.equal(result.labels, expected.labels)
    assert (result.labels == -1).any() and (result.labels > 0).any()

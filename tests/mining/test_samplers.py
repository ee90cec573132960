"""Samplers of mmdet and ours, on the anchors of a dense head."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.samplers import IoUBalancedNegSampler
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_retina_plus.mining import LibraNegSampler
from mmdet_retina_plus.mining.libra_neg_sampler import draw_evenly, iou_bins
from tests.helpers.models import build_head
from tests.helpers.samples import HEAD_OBJECTS, data_sample, pyramid

RANDOM = dict(
    type='RandomSampler', num=16, pos_fraction=0.5, add_gt_as_proposals=False
)
LIBRA = dict(
    type='CombinedSampler',
    num=16,
    pos_fraction=0.5,
    add_gt_as_proposals=False,
    pos_sampler=dict(type='InstanceBalancedPosSampler'),
    neg_sampler=dict(type='LibraNegSampler', num_bins=3),
)


def assigned(num_positives: int, overlaps: Tensor) -> AssignResult:
    """Positives of one object, then negatives of these overlaps."""
    gt_inds = torch.zeros(num_positives + len(overlaps), dtype=torch.long)
    gt_inds[:num_positives] = 1
    return AssignResult(
        1,
        gt_inds,
        torch.cat([torch.ones(num_positives), overlaps]),
        gt_inds - 1,
    )


def sample(sampler, result: AssignResult):
    return sampler.sample(
        result,
        InstanceData(priors=torch.zeros(len(result.gt_inds), 4)),
        InstanceData(bboxes=torch.zeros(1, 4), labels=torch.zeros(1).long()),
    )


@pytest.mark.parametrize(('neg_pos_ub', 'negatives'), [(-1, 800), (1.5, 300)])
def test_negatives_stand_in_for_missing_positives_up_to_a_bound(
    neg_pos_ub, negatives
):
    """1,000 wanted, half of them positive, of which there are 200."""
    sampler = TASK_UTILS.build(dict(RANDOM, num=1000, neg_pos_ub=neg_pos_ub))
    drawn = sample(sampler, assigned(200, torch.zeros(5000)))
    assert len(drawn.pos_inds) == 200
    assert len(drawn.neg_inds) == negatives


def in_bins(counts: list[int]) -> Tensor:
    """Overlaps in [0, .5], so many in each third, both ends among them."""
    parts = [
        torch.linspace(low, low + 0.166, count)
        for low, count in zip((0.0, 0.167, 0.334), counts, strict=True)
    ]
    return torch.cat(parts)


def negatives_per_bin(overlaps: Tensor, wanted: int) -> list[int]:
    sampler = LibraNegSampler(num=wanted, pos_fraction=0.5)
    drawn = sampler._sample_neg(assigned(0, overlaps), wanted)
    assert len(drawn.unique()) == len(drawn) == wanted
    return iou_bins(overlaps, 0.0, 3)[drawn].bincount(minlength=3).tolist()


def test_three_of_each_of_three_bins():
    assert negatives_per_bin(in_bins([20, 10, 5]), 9) == [3, 3, 3]


def test_what_a_bin_lacks_comes_from_the_rest():
    """111 + 111 + 80, and 31 of the 698 that are left."""
    first, second, third = negatives_per_bin(in_bins([800, 120, 80]), 333)
    assert third == 80
    assert first >= 111
    assert 111 <= second <= 120
    assert first + second == 222 + 31


def test_the_highest_overlap_is_drawn_where_mmdet_leaves_it():
    overlaps = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    drawn = {
        kind: {
            int(index)
            for _ in range(60)
            for index in kind(num=3, pos_fraction=0.5)._sample_neg(
                assigned(0, overlaps), 3
            )
        }
        for kind in (LibraNegSampler, IoUBalancedNegSampler)
    }
    assert drawn[LibraNegSampler] == {*range(6)}
    assert drawn[IoUBalancedNegSampler] == {*range(5)}


def test_overlaps_of_0_are_drawn_in_every_call():
    overlaps = torch.cat([torch.zeros(300), torch.linspace(0.01, 0.5, 300)])
    sampler = LibraNegSampler(num=90, pos_fraction=0.5)
    theirs = IoUBalancedNegSampler(num=90, pos_fraction=0.5)
    shares = [
        [
            int(
                (
                    overlaps[kind._sample_neg(assigned(0, overlaps), 90)] == 0
                ).sum()
            )
            for _ in range(3)
        ]
        for kind in (sampler, theirs)
    ]
    assert min(shares[0]) > 10
    assert shares[1][1:] == [0, 0]
    assert sampler.floor_thr == -1


def test_positives_do_not_stretch_the_bins():
    """Their IoU of 1 leaves mmdet's last bin without negatives."""
    overlaps = in_bins([800, 120, 80])
    sampler = LibraNegSampler(num=333, pos_fraction=0.5)
    drawn = sampler._sample_neg(assigned(5, overlaps), 333) - 5
    counts = iou_bins(overlaps, 0.0, 3)[drawn].bincount(minlength=3)
    assert counts[2] == 80


@settings(deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(0, 80),
    wanted=st.integers(0, 60),
    num_bins=st.integers(1, 5),
    floor=st.sampled_from([-1, 0, 0.1]),
    fraction=st.sampled_from([0, 0.3, 1]),
)
def test_as_many_as_wanted_once_each_and_evenly(
    seed, size, wanted, num_bins, floor, fraction
):
    torch.manual_seed(seed)
    overlaps = torch.rand(size) * (torch.rand(size) < 0.7) * 0.5
    sampler = LibraNegSampler(
        num=wanted,
        pos_fraction=0.5,
        floor_thr=floor,
        floor_fraction=fraction,
        num_bins=num_bins,
    )
    drawn = sampler._sample_neg(assigned(0, overlaps), wanted)
    assert len(drawn.unique()) == len(drawn) == min(wanted, size)
    below = overlaps < floor if floor else overlaps == 0
    if floor < 0:
        below = torch.zeros_like(below)
    share = int(wanted * (1 - fraction))
    least_below = min(int(below.sum()), wanted - share)
    assert below[drawn].sum() >= least_below
    bins = iou_bins(overlaps[~below], max(floor, 0), num_bins)
    counts = bins.bincount(minlength=num_bins)
    where = torch.full((size,), -1).masked_scatter(~below, bins)
    found = where[drawn]
    for index in range(num_bins):
        least = min(int(counts[index]), share // num_bins)
        assert (found == index).sum() >= least


def test_draws_are_those_of_the_seed():
    bins = torch.randint(3, (50,))
    draws = []
    for _ in range(2):
        torch.manual_seed(1)
        draws.append(draw_evenly(bins, 3, 20))
    assert torch.equal(*draws)


@pytest.mark.parametrize('sampler', [RANDOM, LIBRA], ids=['random', 'libra'])
def test_on_our_head_the_sampled_train_and_divide_the_loss(sampler):
    head = build_head(
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
        **{'train_cfg.sampler': sampler},
    )
    divisors = []
    for loss in (head.loss_cls, head.loss_bbox):
        loss.register_forward_hook(
            lambda module, args, kwargs, out: divisors.append(
                kwargs['avg_factor']
            ),
            with_kwargs=True,
        )
    losses = head.loss(pyramid(1), [data_sample(HEAD_OBJECTS)])
    positives = int(losses['num_positive'])
    assert 0 < positives <= 8
    assert losses['num_background'] == 16 - positives
    assert divisors == [16, 16]


def test_a_sampler_that_adds_ground_truth_is_refused():
    sampler = dict(RANDOM, add_gt_as_proposals=True)
    with pytest.raises(ValueError, match='add_gt_as_proposals=False'):
        build_head(**{'train_cfg.sampler': sampler})

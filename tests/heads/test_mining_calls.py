"""The protocol of mining policies, as the head holds policies to it."""

import inspect
from contextlib import contextmanager
from typing import get_args, get_type_hints

import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import cat_boxes

from mmdet_retina_plus.heads.mining_calls import (
    ARGUMENTS,
    NEEDS,
    NORMALIZERS,
)
from mmdet_retina_plus.mining import MiningPolicy
from tests.helpers.models import build_head
from tests.helpers.samples import HEAD_OBJECTS, data_sample, pyramid


@contextmanager
def registered(policy: type):
    TASK_UTILS.register_module(module=policy)
    try:
        yield dict(type=policy.__name__)
    finally:
        TASK_UTILS.module_dict.pop(policy.__name__)


class Looking:
    """Keeps the boxes that it was given."""

    def __init__(self, needs):
        self.needs = needs
        self.seen = []

    def __call__(self, cls_score, boxes, labels, label_weights, gt_instances):
        self.seen.append(boxes)
        return label_weights


def test_a_policy_is_given_the_boxes_it_needs_and_no_others():
    with registered(Looking) as policy:
        head = build_head(
            mining=[
                dict(policy, needs=needs)
                for needs in (None, 'anchors', 'predictions')
            ]
        )
    head.retina_reg.weight.data.normal_()
    features = pyramid()
    head.loss(features, [data_sample(HEAD_OBJECTS), data_sample()])
    nothing, anchors, predictions = (policy.seen for policy in head.mining)
    assert nothing == [None, None]
    grid = cat_boxes(
        head.prior_generator.grid_priors(
            [level.shape[-2:] for level in features], device='cpu'
        )
    )
    deltas = [
        torch.cat(
            [
                level[image].permute(1, 2, 0).reshape(-1, 4)
                for level in head(features)[1]
            ]
        )
        for image in range(2)
    ]
    for image in range(2):
        assert torch.equal(anchors[image], grid)
        decoded = head.bbox_coder.decode(grid, deltas[image])
        assert torch.equal(predictions[image], decoded)
        assert not torch.equal(predictions[image], grid)


class Deaf(Looking):
    def __call__(self, cls_score, labels):
        return labels


class Silent:
    def __call__(self, cls_score, boxes, labels, label_weights, gt_instances):
        return label_weights


class Unfair(Silent):
    needs = None
    normalizer = 'negatives'


class NoFunction:
    needs = None


@pytest.mark.parametrize(
    ('policy', 'options', 'message'),
    [
        (Deaf, dict(needs=None), 'Deaf is not a mining policy.*gt_instances'),
        (NoFunction, {}, 'NoFunction is not a mining policy'),
        (Silent, {}, "Silent must state.*`needs` to 'anchors', 'predictions'"),
        (Looking, dict(needs='boxes'), 'Looking must state'),
        (Unfair, {}, "normalizer='negatives': use 'positives' or 'selected'"),
    ],
)
def test_what_follows_no_protocol_is_refused_when_the_head_is_built(
    policy, options, message
):
    with (
        registered(policy) as config,
        pytest.raises(ValueError, match=message) as error,
    ):
        build_head(mining=dict(config, **options))
    assert 'mmdet_retina_plus.mining.MiningPolicy' in str(error.value)


def test_one_policy_that_counts_the_selected_decides():
    class First(Silent):
        needs = None
        normalizer = 'selected'

    with registered(First) as first, registered(Looking) as second:
        both = build_head(mining=[first, dict(second, needs=None)])
    plain = build_head()
    plain.load_state_dict(both.state_dict())
    features, samples = pyramid(1), [data_sample(HEAD_OBJECTS)]
    mined, expected = (head.loss(features, samples) for head in (both, plain))
    selected = mined['num_positive'] + mined['num_background']
    torch.testing.assert_close(
        mined['loss_cls'] * selected,
        expected['loss_cls'] * expected['num_positive'],
    )


def test_the_head_enforces_what_the_protocol_says():
    hints = get_type_hints(MiningPolicy)
    needs = [get_args(hint) or (hint,) for hint in get_args(hints['needs'])]
    named = {name for names in needs for name in names} - {type(None)}
    assert {*NEEDS} == named | {None}
    assert {*NORMALIZERS} == {*get_args(hints['normalizer'])}
    _, *arguments = inspect.signature(MiningPolicy.__call__).parameters
    assert [*ARGUMENTS] == arguments


def test_a_policy_without_a_normalizer_leaves_the_positives():
    class Plain(Silent):
        needs = None
        normalizer = None

    losses = []
    for mining in (None, Plain):
        torch.manual_seed(0)
        with registered(Plain) as policy:
            head = build_head(mining=policy if mining else None)
        losses.append(head.loss(pyramid(1), [data_sample(HEAD_OBJECTS)]))
    assert torch.equal(losses[0]['loss_cls'], losses[1]['loss_cls'])

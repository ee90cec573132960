"""What assigners that go by pyramid levels learn from the head."""

import copy

import pytest
import torch
from mmdet.registry import TASK_UTILS
from torch import nn
from torch.testing import assert_close

from mmdet_retina_plus.assigners import StreamingATSSAssigner, prior_levels
from mmdet_retina_plus.heads import retina_plus_head
from tests.helpers.models import build_head
from tests.helpers.samples import HEAD_OBJECTS, data_sample, pyramid

SHAPE = (96, 64)
OURS = dict(type='StreamingATSSAssigner', topk=9)
THEIRS = dict(type='ATSSAssigner', topk=9)


def head_with(assigner: dict, **changes):
    torch.manual_seed(0)
    return build_head(
        **{'train_cfg.assigner': dict(assigner, _delete_=True), **changes}
    )


def losses_of(head) -> dict:
    torch.manual_seed(1)
    # Padding of the second image takes whole places out of its levels.
    samples = [data_sample(HEAD_OBJECTS, SHAPE), data_sample(HEAD_OBJECTS)]
    return head.loss(pyramid(shape=SHAPE), samples)


def test_the_sizes_of_levels_equal_those_that_are_inferred(monkeypatch):
    seen = []

    def look(self, pred_instances, *args, num_level_priors=None, **kwargs):
        seen.append((pred_instances.priors, num_level_priors))
        return assign(
            self, pred_instances, *args, num_level_priors=None, **kwargs
        )

    assign = StreamingATSSAssigner.assign
    monkeypatch.setattr(StreamingATSSAssigner, 'assign', look)
    inferred = losses_of(head_with(OURS))
    monkeypatch.undo()
    assert len(seen) == 2
    for priors, sizes in seen:
        assert [size for size in sizes if size] == prior_levels.level_sizes(
            priors
        )
    assert seen[0][1] != seen[1][1]
    given = losses_of(head_with(OURS))
    assert given['loss_bbox'] == inferred['loss_bbox'] > 0
    assert given['loss_cls'] == inferred['loss_cls']


def test_nothing_is_inferred_under_this_head(monkeypatch):
    monkeypatch.setattr(
        'mmdet_retina_plus.assigners.streaming_atss_assigner.level_sizes',
        pytest.fail,
    )
    assert losses_of(head_with(OURS))['loss_bbox'] > 0


def test_mmdets_head_lets_the_assigner_infer_the_same():
    ours, theirs = (
        head_with(OURS, type=name) for name in ('RetinaPlusHead', 'RetinaHead')
    )
    theirs.load_state_dict(ours.state_dict())
    values = losses_of(ours), losses_of(theirs)
    for name in ('loss_cls', 'loss_bbox'):
        assert_close(values[0][name], sum(values[1][name]))


SQUARES = {
    'anchor_generator': dict(
        type='AnchorGenerator',
        ratios=[1.0],
        octave_base_scale=4,
        scales_per_octave=1,
        strides=[8, 16, 32, 64, 128],
    )
}
"""An anchor a place, whose distances do not tie within a level."""


@pytest.mark.parametrize('allowed_border', [-1, 0, 8])
def test_mmdets_atss_finds_the_same_where_the_border_filters(allowed_border):
    """Though mmdet's own RetinaHead cannot call it."""
    border = {'train_cfg.allowed_border': allowed_border}
    ours, theirs = (
        head_with(assigner, **border, **SQUARES) for assigner in (OURS, THEIRS)
    )
    theirs.load_state_dict(ours.state_dict())
    # No object is centred between anchors.
    objects = [((5, 3, 42, 33), 0), ((21, 27, 58, 61), 2)]
    features = pyramid(shape=SHAPE)
    samples = [data_sample(objects, SHAPE), data_sample(objects[:1])]
    values = [
        head.loss(features, copy.deepcopy(samples)) for head in (ours, theirs)
    ]
    assert values[0]['num_positive'] > 0
    for name, value in values[0].items():
        assert value == values[1][name], name
    if allowed_border >= 0:
        assert values[0]['num_ignored'] > 0


def test_an_assigner_without_need_costs_no_count(monkeypatch):
    monkeypatch.setattr(retina_plus_head, 'count_inside', pytest.fail)
    for name in ('MaxIoUAssigner', 'StreamingMaxIoUAssigner'):
        assigner = dict(type=name, pos_iou_thr=0.5, neg_iou_thr=0.4)
        assert losses_of(head_with(assigner))['loss_bbox'] > 0


def test_the_head_keeps_its_assigner():
    head = head_with(OURS)
    assigner = head.assigner
    losses_of(head)
    assert head.assigner is assigner
    assert type(assigner) is TASK_UTILS.get('StreamingATSSAssigner')


class ModuleAssigner(nn.Module):
    """An assigner that is a module, as one with weights would be."""

    takes_num_level_priors = True

    def __init__(self, inner) -> None:
        super().__init__()
        self.inner = inner
        self.seen = []

    def assign(self, *args, num_level_priors=None, **kwargs):
        self.seen.append(num_level_priors)
        return self.inner.assign(
            *args, num_level_priors=num_level_priors, **kwargs
        )


def test_an_assigner_may_be_a_module():
    head = head_with(OURS)
    expected = losses_of(head)
    inner = head.assigner
    del head.assigner
    head.assigner = ModuleAssigner(inner)
    assert losses_of(head) == expected
    assert all(head.assigner.seen)
    assert dict(head.named_children())['assigner'] is head.assigner

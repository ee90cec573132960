import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.ops import nms
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor
from torch.testing import assert_close

from mmdet_retina_plus.heads import retina_plus_head
from mmdet_retina_plus.mining import DenseOHEM, dense_ohem
from mmdet_retina_plus.mining.dense_ohem import cross_entropy, select_hardest
from tests.helpers.models import build_head, detector_config
from tests.helpers.samples import (
    HEAD_OBJECTS,
    OBJECTS,
    batches,
    data_sample,
    instances,
    pyramid,
)
from tests.helpers.shipped_configs import check_step

BOXES = torch.tensor(
    [
        [0.0, 0, 10, 10],
        [1, 0, 11, 10],
        [0, 1, 10, 11],
        [30, 30, 40, 40],
        [31, 30, 41, 40],
        [60, 60, 70, 70],
        [80, 80, 90, 90],
    ]
)
LOSSES = torch.tensor([0.90, 0.80, 0.10, 0.70, 0.72, 0.05, 0.60])
POSITIVE = torch.arange(7) == 0
CROSS_ENTROPY = dict(type='CrossEntropyLoss', use_sigmoid=True)


@pytest.mark.parametrize(
    ('num', 'iou_threshold', 'ratio', 'expected'),
    [
        (7, 0.7, None, [0, 4, 6, 5]),
        (7, 0.85, None, [0, 1, 4, 3, 6, 2, 5]),
        (6, 0.85, None, [0, 1, 4, 3, 6, 2]),
        (6, 0.85, 3, [0, 1, 4, 3]),
    ],
)
@pytest.mark.parametrize('num_first', [None, 1])
def test_the_worked_example_of_seven_boxes(
    num, iou_threshold, ratio, expected, num_first
):
    selected = select_hardest(
        LOSSES,
        BOXES,
        POSITIVE,
        num,
        iou_threshold,
        ratio,
        num_first=num_first,
    )
    assert selected.tolist() == expected


def scene(seed: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Losses with ties, boxes that overlap, some positives."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 12, (size, 2), generator=generator)
    sides = torch.randint(3, 9, (size, 2), generator=generator)
    losses = torch.randint(0, 8, (size,), generator=generator)
    positive = torch.rand(size, generator=generator) < 0.2
    boxes = torch.cat([corners, corners + sides], dim=1)
    return losses.float(), boxes.float(), positive


def reference(losses, boxes, positive, num, iou_threshold, ratio, least):
    """The rules word by word, over all boxes."""
    overlaps = bbox_overlaps(boxes, boxes)
    apart: list[int] = []
    for index in sorted(range(len(losses)), key=lambda i: -losses[i]):
        if all(overlaps[index, kept] <= iou_threshold for kept in apart):
            apart.append(index)
    hardest = apart[:num]
    if ratio is None:
        return hardest
    positives = [i for i in hardest if positive[i]]
    negatives = [i for i in hardest if not positive[i]]
    chosen = positives + negatives[: ratio * max(len(positives), least)]
    return [i for i in hardest if i in chosen]


SCENES = (st.integers(0, 10**6), st.integers(0, 60))
# No ratio of two integers below 400, so that rounding decides no overlap.
OPTIONS = st.tuples(
    st.integers(4, 40),
    st.sampled_from([0.30001, 0.50001, 0.70001, 1.0]),
    st.sampled_from([None, 1, 3]),
    st.integers(0, 3),
)


@settings(deadline=None)
@given(*SCENES, OPTIONS, st.integers(1, 9))
def test_an_early_stop_selects_what_all_boxes_would(
    seed, size, options, num_first
):
    parts = scene(seed, size)
    selected = select_hardest(*parts, *options, num_first=num_first)
    assert selected.tolist() == reference(*parts, *options)


@settings(deadline=None)
@given(*SCENES, OPTIONS)
def test_no_order_of_the_anchors_matters_but_that_among_equals(
    seed, size, options
):
    losses, boxes, positive = scene(seed, size)
    selected = select_hardest(losses, boxes, positive, *options)
    by_loss = losses.sort(stable=True).indices
    again = select_hardest(
        losses[by_loss], boxes[by_loss], positive[by_loss], *options
    )
    assert by_loss[again].tolist() == selected.tolist()


POSITIVES = {
    'none': torch.zeros(20_000, dtype=torch.bool),
    'the-easiest': torch.arange(20_000) == 19_999,
    'every-ninth': torch.arange(20_000) % 9 == 1,
}


@pytest.mark.parametrize('positive', POSITIVES.values(), ids=POSITIVES)
@pytest.mark.parametrize('ratio', [None, 3.0])
def test_nms_sees_few_of_many_anchors(ratio, positive, monkeypatch):
    sizes = []

    def count(boxes, *args):
        sizes.append(len(boxes))
        return nms(boxes, *args)

    monkeypatch.setattr(dense_ohem, 'nms', count)
    losses = torch.arange(20_000, 0, -1).float()
    boxes = torch.arange(20_000)[:, None] + torch.tensor([0, 0, 1, 1])
    selected = select_hardest(losses, boxes, positive, 128, 0.5, ratio)
    hard = positive[:128].sum().item()
    assert len(selected) == (
        128 if ratio is None else hard + min(3 * max(hard, 1), 128 - hard)
    )
    assert max(sizes) <= 512


def test_the_first_of_equals_is_selected():
    boxes = BOXES[[3, 0, 6, 5]]
    losses, positive = torch.ones(4), torch.zeros(4, dtype=torch.bool)
    assert select_hardest(losses, boxes, positive, 2, 0.5).tolist() == [0, 1]
    losses, boxes = torch.ones(500), BOXES[:1].repeat(500, 1)
    positive = torch.zeros(500, dtype=torch.bool)
    assert select_hardest(losses, boxes, positive, 9, 0.5).tolist() == [0]


@pytest.mark.parametrize('use_sigmoid', [True, False])
def test_an_anchor_is_scored_by_its_cross_entropy(use_sigmoid):
    scores = torch.randn(20, 3 if use_sigmoid else 4) * 9
    labels = torch.arange(20) % 4
    losses = cross_entropy(scores.half(), labels, use_sigmoid)
    if use_sigmoid:
        expected = F.binary_cross_entropy_with_logits(
            scores.half().float(),
            F.one_hot(labels, 4)[:, :3].float(),
            reduction='none',
        ).sum(dim=1)
    else:
        expected = (
            -scores.half().float().log_softmax(dim=1)[torch.arange(20), labels]
        )
    assert_close(losses, expected)


def mine(
    policy: DenseOHEM, labels: Tensor, weights: Tensor, scores: Tensor
) -> Tensor:
    """Weights after a policy on anchors side by side."""
    left = torch.arange(len(labels)) * 10.0
    boxes = torch.stack(
        [left, left.new_zeros(()).expand_as(left), left + 9, left * 0 + 9], 1
    )
    return policy(scores, boxes, labels, weights, instances())


@settings(deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(0, 30),
    st.integers(0, 60),
    st.integers(1, 40),
    st.integers(0, 3),
)
def test_a_ratio_takes_only_negatives_from_the_hardest(
    seed, num_positives, num_negatives, num, min_positives
):
    torch.manual_seed(seed)
    labels = torch.cat(
        [torch.randint(3, (num_positives,)), torch.full((num_negatives,), 3)]
    )
    scores, ones = torch.randn(len(labels), 3), torch.ones(len(labels))
    hardest = mine(DenseOHEM(num), labels, ones, scores) > 0
    policy = DenseOHEM(num, neg_pos_ratio=3, min_positives=min_positives)
    kept = mine(policy, labels, ones, scores) > 0
    positive = labels < 3
    assert torch.equal(kept & positive, hardest & positive)
    assert not (kept & ~hardest).any()
    positives = (hardest & positive).sum().item()
    negatives = (hardest & ~positive).sum().item()
    assert (kept & ~positive).sum() == min(
        negatives, 3 * max(positives, min_positives)
    )


@settings(deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(0, 60),
    st.integers(4, 80),
    st.sampled_from([None, 1.0, 3.0]),
)
def test_ignored_anchors_are_never_selected(seed, size, num, ratio):
    torch.manual_seed(seed)
    labels = torch.randint(4, (size,))
    weights = torch.randint(3, (size,)) / 2
    policy = DenseOHEM(num, neg_pos_ratio=ratio)
    mined = mine(policy, labels, weights, torch.randn(size, 3))
    selected = mined > 0
    assert (mined[selected] == weights[selected]).all()
    assert selected.sum() <= num
    if ratio is None:
        assert selected.sum() == min(num, (weights > 0).sum())


def losses_of(batch, **changes):
    """Losses of a head with other weights than after its start."""
    torch.manual_seed(0)
    head = build_head(**{'loss_cls': CROSS_ENTROPY, **changes})
    head.retina_cls.weight.data.normal_(0, 0.3)
    return head, head.loss(pyramid(), [data_sample(image) for image in batch])


HEAD_BATCHES = batches(HEAD_OBJECTS)


@pytest.mark.parametrize('batch', HEAD_BATCHES)
@pytest.mark.parametrize('ratio', [None, 3.0])
def test_the_loss_is_the_mean_of_the_selected(batch, ratio, monkeypatch):
    seen = []

    def keep(self, cls_score, boxes, labels, weights, gt_instances):
        mined = select(self, cls_score, boxes, labels, weights, gt_instances)
        every = cross_entropy(cls_score, labels, use_sigmoid=True)
        seen.append(every[mined > 0])
        return mined

    select = DenseOHEM.__call__
    monkeypatch.setattr(DenseOHEM, '__call__', keep)
    policy = dict(type='DenseOHEM', num=64, neg_pos_ratio=ratio)
    _, losses = losses_of(HEAD_BATCHES[batch], mining=policy)
    selected = torch.cat(seen)
    assert len(seen) == 2
    assert len(selected) <= 128
    assert ratio or len(selected) == 128
    assert_close(losses['loss_cls'], selected.mean(), rtol=1e-5, atol=0)
    _, plain = losses_of(HEAD_BATCHES[batch])
    assert losses['loss_bbox'] == plain['loss_bbox']


@pytest.mark.parametrize('normalizer', ['selected', 'positives'])
def test_the_loss_is_divided_once_by_what_the_policy_says(normalizer):
    """It is what the loss answers, and its gradient that of the formula."""
    policy = dict(type='DenseOHEM', num=64, normalizer=normalizer)
    torch.manual_seed(0)
    head = build_head(loss_cls=CROSS_ENTROPY, mining=policy)
    head.retina_cls.weight.data.normal_(0, 0.3)
    calls = []
    head.loss_cls.register_forward_hook(
        lambda module, args, kwargs, result: calls.append(
            (args, kwargs['avg_factor'], result)
        ),
        with_kwargs=True,
    )
    samples = [data_sample(image) for image in HEAD_BATCHES['objects']]
    losses = head.loss(pyramid(), samples)
    [((logits, labels, weights), divisor, result)] = calls
    selected = weights > 0
    assert losses['loss_cls'] is result
    assert 0 < selected.sum() <= 128
    positives = losses['num_positive'] * len(samples)
    expected = selected.sum() if normalizer == 'selected' else positives
    assert divisor == expected
    truth = F.one_hot(labels, 4)[:, :3].to(logits)
    every = F.binary_cross_entropy_with_logits(
        logits, truth, reduction='none'
    ).sum(dim=1)
    formula = every[selected].sum() / expected
    assert_close(result, formula)
    gradients = [
        torch.autograd.grad(value, head.retina_cls.weight, retain_graph=True)[
            0
        ]
        for value in (result, formula)
    ]
    assert_close(*gradients)


def test_with_more_than_all_divided_by_positives_it_is_no_mining():
    policy = dict(
        type='DenseOHEM', num=10**6, iou_threshold=1, normalizer='positives'
    )
    batch = HEAD_BATCHES['objects']
    _, mined = losses_of(batch, mining=policy)
    _, plain = losses_of(batch)
    for name, value in plain.items():
        assert mined[name] == value, name


def test_the_number_selected_is_that_of_all_processes(monkeypatch):
    """Beside one that selects as many anchors as positives: none."""
    policy = dict(type='DenseOHEM')
    batch = HEAD_BATCHES['objects']
    _, alone = losses_of(batch, mining=policy)
    monkeypatch.setattr(retina_plus_head, 'reduce_mean', lambda x: x / 2)
    _, together = losses_of(batch, mining=policy, sync_avg_factor=True)
    assert_close(together['loss_cls'], alone['loss_cls'] * 2)


def test_only_selected_anchors_get_a_gradient():
    head, losses = losses_of(
        HEAD_BATCHES['objects'], mining=dict(type='DenseOHEM', num=1)
    )
    (gradient,) = torch.autograd.grad(
        losses['loss_cls'], head.retina_cls.bias, retain_graph=True
    )
    # Two images, one anchor each, three classes.
    assert 0 < gradient.count_nonzero() <= 6


@pytest.mark.parametrize('on_anchors', [True, False])
def test_boxes_are_anchors_or_predictions(on_anchors, monkeypatch):
    seen = []

    def look(self, cls_score, boxes, labels, weights, gt_instances):
        seen.append(boxes)
        return weights

    monkeypatch.setattr(DenseOHEM, '__call__', look)
    policy = dict(type='DenseOHEM', on_anchors=on_anchors)
    head, _ = losses_of(HEAD_BATCHES['objects'], mining=policy)
    anchors = head.prior_generator.grid_priors(
        [level.shape[-2:] for level in pyramid(1)], device='cpu'
    )
    assert torch.equal(seen[1], torch.cat(anchors)) == on_anchors


ON_ANCHORS = dict(type='DenseOHEM', use_sigmoid=False)
ON_PREDICTIONS = dict(ON_ANCHORS, on_anchors=False)
STOCHASTIC = dict(type='StochasticHardMining')


@pytest.mark.parametrize(
    ('mining', 'times'),
    [
        ([ON_ANCHORS], 0),
        ([STOCHASTIC], 0),
        ([ON_ANCHORS, STOCHASTIC], 0),
        ([ON_PREDICTIONS], 1),
        ([ON_PREDICTIONS, STOCHASTIC, ON_PREDICTIONS], 1),
    ],
    ids=['anchors', 'none', 'anchors-none', 'predictions', 'all'],
)
def test_predictions_are_decoded_only_if_a_policy_needs_them(
    mining, times, monkeypatch
):
    """And once for a batch."""
    decoded = []

    def count(self, *args, **kwargs):
        decoded.append(args)
        return decode(self, *args, **kwargs)

    decode = DeltaXYWHBBoxCoder.decode
    monkeypatch.setattr(DeltaXYWHBBoxCoder, 'decode', count)
    loss = dict(CROSS_ENTROPY, use_sigmoid=False)
    losses_of(HEAD_BATCHES['objects'], loss_cls=loss, mining=mining)
    assert len(decoded) == times


@pytest.mark.parametrize('batch', batches(OBJECTS))
@pytest.mark.parametrize(
    'options',
    [dict(), dict(num=10**6), dict(neg_pos_ratio=3.0, min_positives=0)],
    ids=['defaults', 'more-than-all', 'no-negatives-without-objects'],
)
def test_a_step_reaches_every_parameter(batch, options):
    config = detector_config()
    config.bbox_head.loss_cls = dict(type='FusedFocalLoss', gamma=0.0)
    config.bbox_head.loss_cls.use_sigmoid = True
    config.bbox_head.mining = dict(type='DenseOHEM', **options)
    detector = MODELS.build(config)
    detector.init_weights()
    check_step(detector.train(), batches(OBJECTS)[batch])


def test_sigmoid_scores_are_not_those_of_a_softmax():
    loss = dict(CROSS_ENTROPY, use_sigmoid=False)
    with pytest.raises(ValueError, match='mining=None'):
        build_head(loss_cls=loss, mining=dict(type='DenseOHEM'))
    policy = dict(type='DenseOHEM', use_sigmoid=False)
    _, losses = losses_of(
        HEAD_BATCHES['one-empty'], loss_cls=loss, mining=policy
    )
    assert losses['loss_cls'] > 0


@pytest.mark.parametrize(
    ('options', 'way_out'),
    [
        (dict(num=0), 'at least 1'),
        (dict(min_positives=-1), 'min_positives of at least 0'),
        (dict(iou_threshold=1.1), '1 suppresses nothing'),
        (dict(iou_threshold=float('nan')), '1 suppresses nothing'),
        (dict(neg_pos_ratio=-1), 'or None'),
        (dict(neg_pos_ratio=float('inf')), 'or None'),
        (dict(neg_pos_ratio=float('nan')), 'or None'),
        (dict(normalizer='sum'), 'use "selected" or "positives"'),
    ],
)
def test_an_option_out_of_its_range_is_refused(options, way_out):
    with pytest.raises(ValueError, match=way_out):
        TASK_UTILS.build(dict(type='DenseOHEM', **options))

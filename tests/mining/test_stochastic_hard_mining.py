import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import TASK_UTILS
from torch import Tensor
from torch.testing import assert_close

from mmdet_retina_plus.mining import StochasticHardMining
from mmdet_retina_plus.mining.stochastic_hard_mining import foreground_scores
from tests.helpers.models import build_head
from tests.helpers.samples import HEAD_OBJECTS, data_sample, instances, pyramid


def mine(policy: StochasticHardMining, scores: Tensor, labels: Tensor):
    """Weights after a policy that looks at nothing else."""
    return policy(
        scores,
        torch.zeros(len(labels), 4),
        labels,
        torch.ones(len(labels)),
        instances(),
    )


@settings(deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(0, 8),
    st.integers(0, 60),
    st.integers(1, 10),
    st.sampled_from([0.5, 1.0, 3.0]),
    st.booleans(),
)
def test_positives_stay_and_negatives_come_from_the_hardest(
    seed, num_positives, num_negatives, pool_size, ratio, use_sigmoid
):
    torch.manual_seed(seed)
    background = 3
    labels = torch.cat(
        [
            torch.randint(background, (num_positives,)),
            torch.full((num_negatives,), background),
        ]
    )
    scores = torch.randn(len(labels), 3 if use_sigmoid else 4)
    policy = StochasticHardMining(pool_size, ratio, use_sigmoid=use_sigmoid)
    weights = mine(policy, scores, labels)
    assert (weights[:num_positives] == 1).all()
    wanted = max(1, round(ratio * num_positives))
    drawn = weights[num_positives:]
    assert drawn.sum() == min(wanted, num_negatives)
    hardness = foreground_scores(scores, use_sigmoid)[num_positives:]
    easier = hardness[drawn == 1].unsqueeze(1) < hardness
    assert (easier.sum(dim=1) < pool_size * wanted).all()


def test_a_pool_of_one_takes_just_the_hardest():
    scores = torch.tensor([[9.0, 0], [0, 1], [3, 0], [2, 0], [-1, 0]])
    labels = torch.tensor([0, 1, 1, 1, 1])
    policy = StochasticHardMining(pool_size=1, neg_pos_ratio=2)
    assert mine(policy, scores, labels).tolist() == [1, 0, 1, 1, 0]


def test_every_negative_of_the_pool_is_drawn_at_times():
    scores = torch.tensor([[5.0, 0], [4, 0], [3, 0], [2, 0]])
    labels = torch.tensor([1, 1, 1, 1])
    policy = StochasticHardMining(pool_size=3)
    counts = sum(mine(policy, scores, labels) for _ in range(300))
    assert counts[3] == 0
    # Binomial of 1/3 in 300: 5 deviations are 41.
    assert ((counts[:3] - 100).abs() < 41).all()


def test_the_same_seed_draws_the_same():
    scores, labels = torch.randn(50, 4), torch.full((50,), 3)
    policy = StochasticHardMining()
    draws = []
    for _ in range(2):
        torch.manual_seed(3)
        draws.append(mine(policy, scores, labels))
    assert_close(*draws)


@pytest.mark.parametrize('num_objects', [0, 1])
def test_ignored_anchors_are_never_drawn_and_stay_ignored(num_objects):
    labels = torch.full((40,), 3)
    labels[:num_objects] = 0
    weights = torch.ones(40)
    weights[num_objects:38] = 0
    mined = StochasticHardMining(min_negatives=5)(
        torch.randn(40, 4), torch.zeros(40, 4), labels, weights, instances()
    )
    assert (mined[num_objects:38] == 0).all()
    assert mined.sum() == num_objects + 2


def test_weights_of_what_remains_are_the_assigners():
    labels = torch.tensor([0, 3, 3])
    weights = torch.tensor([0.5, 2.0, 0.25])
    mined = StochasticHardMining(neg_pos_ratio=2)(
        torch.randn(3, 4), torch.zeros(3, 4), labels, weights, instances()
    )
    assert_close(mined, weights)


def test_without_anchors_there_is_nothing_to_draw():
    labels = torch.zeros(0, dtype=torch.long)
    assert mine(StochasticHardMining(), torch.zeros(0, 4), labels).shape == (
        0,
    )


def test_the_heads_loss_is_half_the_sum_of_two_means():
    """The toolkit's formula, on an image with objects."""
    head = build_head(
        loss_cls=dict(
            type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.5
        ),
        mining=dict(type='StochasticHardMining', pool_size=1),
    )
    features = pyramid(1)
    sample = data_sample(HEAD_OBJECTS)
    losses = head.loss(features, [sample])
    num_positives = int(losses['num_positive'])
    assert num_positives > 1

    scores = torch.cat(
        [
            level.permute(0, 2, 3, 1).reshape(-1, head.cls_out_channels)
            for level in head(features)[0]
        ]
    )
    anchors, flags = head.get_anchors(
        [level.shape[-2:] for level in features],
        [sample.metainfo],
        device='cpu',
    )
    targets = head.get_targets(
        anchors, flags, [sample.gt_instances], [sample.metainfo]
    )
    labels, weights = (torch.cat(levels, dim=1)[0] for levels in targets[:2])
    cost = torch.nn.functional.cross_entropy(scores, labels, reduction='none')
    positive = labels != 3
    negative = (labels == 3) & (weights > 0)
    hardness = foreground_scores(scores, False).masked_fill(~negative, -1)
    hardest = hardness.topk(num_positives).indices
    expected = (cost[positive].mean() + cost[hardest].mean()) / 2
    assert_close(losses['loss_cls'], expected)


@pytest.mark.parametrize(
    'options',
    [dict(pool_size=0), dict(neg_pos_ratio=-1), dict(min_negatives=-1)],
)
def test_numbers_below_their_least_are_refused(options):
    with pytest.raises(ValueError, match='at least 1'):
        TASK_UTILS.build(dict(type='StochasticHardMining', **options))

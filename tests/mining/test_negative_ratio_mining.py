import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from mmdet_retina_plus.mining import NegativeRatioMining
from mmdet_retina_plus.mining.dense_ohem import cross_entropy
from tests.heads.device_reads import device_reads
from tests.helpers.models import build_head
from tests.helpers.samples import HEAD_OBJECTS, data_sample, instances, pyramid


def mine(
    policy, scores: Tensor, labels: Tensor, weights: Tensor | None = None
):
    if weights is None:
        weights = torch.ones(len(labels))
    return policy(scores, None, labels, weights, instances())


def ssd(losses: Tensor, labels: Tensor, weights: Tensor, ratio, min_neg):
    """mmdet's SSDHead, with a floor."""
    positive = (labels != 3) & (weights > 0)
    negative = ((labels == 3) & (weights > 0)).nonzero()[:, 0]
    count = max(int(ratio * positive.sum()), min_neg)
    hardest = losses[negative].topk(min(count, len(negative))).indices
    kept = positive.clone()
    kept[negative[hardest]] = True
    return weights * kept


@settings(deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(0, 60),
    st.sampled_from([0.0, 0.5, 3.0]),
    st.integers(0, 5),
    st.booleans(),
)
def test_the_hardest_negatives_remain_as_in_ssd(
    seed, size, ratio, min_neg, use_sigmoid
):
    torch.manual_seed(seed)
    labels = torch.randint(4, (size,)).where(torch.rand(size) < 0.3, 3)
    weights = torch.rand(size) * (torch.rand(size) < 0.8)
    scores = torch.randn(size, 3 if use_sigmoid else 4)
    mined = mine(
        NegativeRatioMining(ratio, min_neg, use_sigmoid),
        scores,
        labels,
        weights,
    )
    losses = cross_entropy(scores, labels, use_sigmoid)
    assert_close(mined, ssd(losses, labels, weights, ratio, min_neg))


def test_an_image_without_objects_teaches_min_neg_negatives():
    scores = torch.tensor([[1.0], [3], [2], [0]])
    labels = torch.ones(4, dtype=torch.long)
    mined = mine(NegativeRatioMining(min_neg=2), scores, labels)
    assert mined.tolist() == [0, 1, 1, 0]
    assert not mine(NegativeRatioMining(min_neg=0), scores, labels).any()


def test_of_equals_the_first_remain():
    labels = torch.tensor([0, 1, 1, 1, 1, 1])
    mined = mine(NegativeRatioMining(), torch.zeros(6, 1), labels)
    assert mined.tolist() == [1, 1, 1, 1, 0, 0]


def test_the_loss_is_divided_by_the_positives():
    head = build_head(
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
        mining=dict(type='NegativeRatioMining'),
    )
    divisors = []
    head.loss_cls.register_forward_hook(
        lambda module, args, kwargs, out: divisors.append(
            kwargs['avg_factor']
        ),
        with_kwargs=True,
    )
    losses = head.loss(pyramid(1), [data_sample(HEAD_OBJECTS)])
    assert divisors == [int(losses['num_positive'])]
    assert losses['num_background'] == 3 * losses['num_positive']


def test_nothing_waits_for_a_gpu():
    labels = torch.randint(4, (50,))
    with device_reads() as reads:
        mine(NegativeRatioMining(), torch.randn(50, 3), labels)
    assert not reads


@pytest.mark.parametrize(
    'options', [dict(ratio=-1), dict(ratio=torch.inf), dict(min_neg=-1)]
)
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match='finite numbers of 0 or more'):
        NegativeRatioMining(**options)

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.losses import FocalLoss
from mmdet.registry import MODELS
from torch.testing import assert_close

from mmdet_retina_plus.losses import FusedFocalLoss
from tests.helpers.gradients import value_and_gradient
from tests.helpers.oracles import exact_focal, read_oracle

reductions = pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])


def label(target):
    """The label of one class: 0, or background 1."""
    return torch.tensor([1 - target])


@pytest.mark.parametrize('vector', read_oracle('focal_loss')['vectors'])
def test_oracle(vector):
    loss = FusedFocalLoss(
        gamma=vector['gamma'], alpha=vector['alpha'], reduction='sum'
    )
    for dtype, rtol in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        if dtype == torch.float32 and abs(vector['logit']) > 20:
            continue
        result = value_and_gradient(
            loss,
            torch.tensor([[vector['logit']]], dtype=dtype),
            label(vector['target']),
        )
        expected = (
            torch.tensor(vector['loss'], dtype=dtype),
            torch.tensor([[vector['gradient']]], dtype=dtype),
        )
        assert_close(result, expected, rtol=rtol, atol=0)


@pytest.mark.parametrize(
    ('dtype', 'width', 'rtol'),
    [(torch.float64, 64, 1e-10), (torch.float32, 32, 2e-5)],
)
@pytest.mark.parametrize('target', [0, 1])
@pytest.mark.parametrize('as_shares', [False, True])
@given(data=st.data())
@settings(deadline=None, max_examples=50)
def test_fifty_digits_agree(dtype, width, rtol, target, as_shares, data):
    # Vector registers full, and a rest that is computed one by one.
    logits = data.draw(
        st.lists(st.floats(-90, 90, width=width), min_size=35, max_size=35)
    )
    gamma = data.draw(st.floats(0, 100) | st.sampled_from([0, 0.5, 1, 2, 5]))
    alpha = data.draw(st.floats(0, 1))
    targets = torch.full((35, 1), target)
    result = value_and_gradient(
        FusedFocalLoss(gamma=gamma, alpha=alpha, reduction='none'),
        torch.tensor(logits, dtype=dtype)[:, None],
        targets if as_shares else 1 - targets.squeeze(1),
    )
    expected = [exact_focal(logit, target, gamma, alpha) for logit in logits]
    assert_close(
        torch.cat(result, dim=1).double(),
        torch.tensor(expected, dtype=torch.float64),
        rtol=rtol,
        # Below its normal numbers a format has no relative precision.
        atol=torch.finfo(dtype).tiny,
    )


@reductions
def test_gamma_zero_is_cross_entropy(reduction):
    pred = torch.randn(50, 4, dtype=torch.float64) * 5
    share = torch.rand_like(pred)
    assert_close(
        value_and_gradient(
            FusedFocalLoss(gamma=0, alpha=None, reduction=reduction),
            pred,
            share,
        ),
        value_and_gradient(
            lambda pred: F.binary_cross_entropy_with_logits(
                pred, share, reduction=reduction
            ),
            pred,
        ),
    )


@pytest.mark.parametrize('gamma', [0.5, 1.0, 2.0, 5.0])
def test_focal_loss_is_cross_entropy_times_the_error_to_gamma(gamma):
    pred = torch.randn(50, 4, dtype=torch.float64) * 5
    labels = torch.randint(0, 5, (50,))
    focal, cross_entropy = (
        FusedFocalLoss(gamma=gamma, alpha=None, reduction='none')(pred, labels)
        for gamma in (gamma, 0)
    )
    one_hot = F.one_hot(labels, 5)[:, :4].bool()
    error = torch.where(one_hot, -pred, pred).sigmoid()
    assert_close(focal / cross_entropy, error**gamma)


@reductions
@pytest.mark.parametrize('weight_shape', [None, (60,), (60, 1), (60, 4), 240])
@pytest.mark.parametrize('gamma', [0.0, 1.0, 2.0, 3.5])
def test_equals_the_stock_loss(reduction, weight_shape, gamma):
    options = dict(
        use_sigmoid=True,
        gamma=gamma,
        alpha=0.3,
        reduction=reduction,
        loss_weight=0.7,
    )
    ours, stock = FusedFocalLoss(**options), FocalLoss(**options)
    pred = torch.randn(60, 4, dtype=torch.float64) * 4
    labels = torch.randint(0, 5, (60,))
    weight = weight_shape and torch.rand(weight_shape).double()
    for target in (labels, F.one_hot(labels, 5)[:, :4]):
        for avg_factor in (None, 7.5) if reduction != 'sum' else (None,):
            inputs = (pred, target, weight, avg_factor)
            assert_close(
                value_and_gradient(ours, *inputs),
                value_and_gradient(stock, *inputs),
            )
            override = dict(reduction_override='none')
            assert_close(ours(*inputs, **override), stock(*inputs, **override))


@pytest.mark.parametrize('gamma', [0.1, 0.5, 0.9])
@pytest.mark.parametrize(
    ('logit', 'target'), [(17.5, 1), (120.0, 1), (-120.0, 0)]
)
def test_gradient_is_finite_where_the_stock_loss_has_none(
    gamma, logit, target
):
    pred = torch.tensor([[logit]])
    _, stock = value_and_gradient(
        FocalLoss(use_sigmoid=True, gamma=gamma), pred, label(target)
    )
    _, ours = value_and_gradient(
        FusedFocalLoss(gamma=gamma), pred, label(target)
    )
    assert stock.isnan() and ours.isfinite()


def test_first_step_of_a_detector_costs_what_the_prior_promises():
    """All anchors of an 800x1344 image at the prior 0.01, in float32."""
    pred = torch.full((201_600, 80), -4.59511985013459)
    background = torch.full((201_600,), 80)
    value = FusedFocalLoss(reduction='sum')(pred, background)
    assert value.item() == pytest.approx(
        7.537751890126e-07 * 201_600 * 80, rel=2e-5
    )


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match='activated'):
        MODELS.build(dict(type='FusedFocalLoss', activated=True))


@pytest.mark.parametrize(
    'dtype',
    [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64],
)
def test_a_divisor_of_any_type_is_the_stock_losss(dtype):
    pred = torch.randn(6, 3, dtype=torch.float64)
    labels = torch.tensor([0, 3, 1, 3, 2, 3])
    avg_factor = torch.tensor(7, dtype=dtype)
    assert_close(
        FusedFocalLoss()(pred, labels, avg_factor=avg_factor),
        FocalLoss()(pred, labels, avg_factor=7.0),
        rtol=1e-10,
        atol=0,
    )


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.int64])
def test_a_divisor_of_zero_and_no_weight_cost_nothing(dtype):
    loss = FusedFocalLoss()(
        torch.randn(4, 3),
        torch.zeros(4, dtype=torch.long),
        torch.zeros(4),
        avg_factor=torch.tensor(0, dtype=dtype),
    )
    assert loss == 0

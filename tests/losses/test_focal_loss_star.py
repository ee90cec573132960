import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from mmdet_retina_plus.losses import FocalLossStar, FusedFocalLoss
from tests.helpers.gradients import value_and_gradient
from tests.helpers.oracles import read_oracle


@pytest.mark.parametrize('vector', read_oracle('focal_loss_star')['vectors'])
@pytest.mark.parametrize(
    ('dtype', 'rtol'), [(torch.float64, 1e-12), (torch.float32, 1e-5)]
)
def test_oracle(vector, dtype, rtol):
    loss = FocalLossStar(
        gamma=vector['gamma'],
        beta=vector['beta'],
        alpha=vector['alpha'],
        reduction='sum',
    )
    result = value_and_gradient(
        loss,
        torch.tensor([[vector['logit']]], dtype=dtype),
        torch.tensor([1 - vector['target']]),
    )
    expected = (
        torch.tensor(vector['loss'], dtype=dtype),
        torch.tensor([[vector['gradient']]], dtype=dtype),
    )
    assert_close(result, expected, rtol=rtol, atol=0)


@given(
    logit=st.floats(-90, 90),
    target=st.sampled_from([0, 1]),
    gamma=st.floats(0.1, 8),
    beta=st.floats(-5, 5),
)
@settings(deadline=None)
def test_fifty_digits_agree(logit, target, gamma, beta):
    value, gradient = value_and_gradient(
        FocalLossStar(gamma=gamma, beta=beta, reduction='sum'),
        torch.tensor([[logit]], dtype=torch.float64),
        torch.tensor([1 - target]),
    )
    with mpmath.workdps(50):
        sign = 1 if target else -1
        margin = sign * mpmath.mpf(gamma) * logit + beta
        expected = mpmath.log1p(mpmath.exp(-margin)) / gamma
        slope = -sign / (1 + mpmath.exp(margin))
    tiny = torch.finfo(torch.float64).tiny
    assert value.item() == pytest.approx(float(expected), rel=1e-10, abs=tiny)
    assert gradient.item() == pytest.approx(float(slope), rel=1e-10, abs=tiny)


def test_slope_one_without_shift_is_cross_entropy():
    pred = torch.randn(50, 4) * 5
    labels = torch.randint(0, 5, (50,))
    assert_close(
        value_and_gradient(
            FocalLossStar(gamma=1, beta=0, alpha=0.3), pred, labels
        ),
        value_and_gradient(FusedFocalLoss(gamma=0, alpha=0.3), pred, labels),
    )


@pytest.mark.parametrize('logit', [-1e4, -90.0, 90.0, 1e4])
@pytest.mark.parametrize('label', [0, 1])
def test_extreme_logits_have_finite_gradients(logit, label):
    value, gradient = value_and_gradient(
        FocalLossStar(), torch.tensor([[logit]]), torch.tensor([label])
    )
    wrong = (logit > 0) == (label == 1)
    assert value.isfinite()
    assert gradient.item() == math.copysign(wrong, logit)


def test_options_that_it_divides_by_are_checked():
    with pytest.raises(ValueError, match='FL\\* divides by gamma'):
        FocalLossStar(gamma=0)
    with pytest.raises(ValueError, match='and a finite beta'):
        FocalLossStar(beta=float('nan'))

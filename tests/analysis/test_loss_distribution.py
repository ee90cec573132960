"""Sorted and accumulated losses, as laws."""

import math

import mpmath
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from torch.testing import assert_close

from mmdet_retina_plus.analysis import loss_distribution
from mmdet_retina_plus.analysis.loss_distribution import (
    BINS_PER_UNIT,
    HIGHEST,
    LOWEST,
    LogHistogram,
    LossSpread,
    background_logits,
    log_terms,
)
from mmdet_retina_plus.losses import FusedFocalLoss

GAMMAS = [0.0, 0.5, 1.0, 2.0, 5.0]
logarithms = st.lists(
    st.one_of(
        st.floats(LOWEST, HIGHEST - 1e-9),
        # Close together, and so within few bins.
        st.floats(-2, -2 + 3 / BINS_PER_UNIT),
    ),
    min_size=1,
    max_size=60,
)


def histogram_of(*batches) -> LogHistogram:
    histogram = LogHistogram()
    for batch in batches:
        histogram.add(np.array(batch))
    return histogram


def exact_curve(logs) -> tuple[np.ndarray, np.ndarray]:
    """Cumulative distribution of all values, sorted."""
    values = np.exp(np.sort(logs) - max(logs))
    shares = np.cumsum(values) / values.sum()
    return np.arange(len(logs) + 1) / len(logs), np.r_[0, shares]


def log_losses(logits, labels, gamma, use_sigmoid=True):
    """Log losses of positives, and of negatives."""
    return [
        (gamma * log_p + log_u).logsumexp(dim=1)
        for log_p, log_u in map(
            log_terms, background_logits(logits, labels, use_sigmoid)
        )
    ]


@given(logs=logarithms)
@settings(deadline=None)
def test_curve_is_the_exact_one_within_the_stated_bound(logs):
    histogram = histogram_of(logs)
    fractions, exact = exact_curve(logs)
    corners, shares = histogram.curve()
    # The bin that a fraction lies in, or ends at.
    within = np.searchsorted(corners[1:-1], fractions - 1e-12)
    bound = LogHistogram.ERROR * np.diff(shares)[within]
    excess = histogram.cumulative(fractions) - exact
    assert (excess >= -1e-9).all()
    assert (excess <= bound + 1e-9).all()


@given(logs=logarithms)
@settings(deadline=None)
def test_curve_is_exact_between_bins(logs):
    corners, shares = histogram_of(logs).curve()
    assert_allclose(np.interp(corners, *exact_curve(logs)), shares, atol=1e-9)


def test_the_bound_is_reached_by_no_more_than_it_says():
    """Two values at the ends of a bin, as many as makes the chord worst."""
    ratio = math.exp(1 / BINS_PER_UNIT)
    low = math.floor(math.sqrt(ratio) / (1 + math.sqrt(ratio)) * 10_000)
    ends = [-3.0 + 1e-9] * low + [-3 + 1 / BINS_PER_UNIT - 1e-9] * (
        10_000 - low
    )
    fractions, exact = exact_curve(ends)
    histogram = histogram_of(ends)
    assert len(histogram.curve()[0]) == 2
    worst = (histogram.cumulative(fractions) - exact).max()
    assert worst == pytest.approx(LogHistogram.ERROR, rel=1e-3)


@given(logs=logarithms, data=st.data())
@settings(deadline=None)
def test_any_split_equals_all_at_once(logs, data):
    cut = data.draw(st.integers(0, len(logs)))
    whole = histogram_of(logs)
    parts = histogram_of(logs[cut:], logs[:cut])
    assert_array_equal(parts.counts, whole.counts)
    assert_allclose(parts.sums, whole.sums, rtol=1e-12)


def test_losses_below_what_a_float_holds_keep_their_shares():
    histogram = histogram_of([-900.0] * 9 + [-900 + math.log(9)])
    assert histogram.hardest(0.1) == pytest.approx(0.5)


def test_beyond_the_bins_nothing_is_lost():
    histogram = histogram_of([-2000.0, HIGHEST + 3.0])
    assert histogram.count == 2
    assert histogram.hardest(0.5) == pytest.approx(1)


def test_equal_losses_share_equally():
    histogram = histogram_of([-1.0] * 1000)
    for fraction in (0.001, 0.01, 0.1, 0.2):
        assert histogram.hardest(fraction) == pytest.approx(fraction)


def test_no_values_have_no_curve():
    with pytest.raises(ValueError, match='No values'):
        LogHistogram().curve()


def test_adding_nothing_changes_nothing():
    assert histogram_of([]).count == 0


@given(
    logits=st.lists(st.floats(-60, 20, width=32), min_size=2, max_size=80),
    fraction=st.floats(0.01, 0.99),
)
@settings(deadline=None)
def test_shares_of_the_hardest_negatives_grow_with_gamma(logits, fraction):
    spread = LossSpread(GAMMAS)
    column = torch.tensor(logits, dtype=torch.float64)[:, None]
    spread.add(column, torch.ones(len(column), dtype=torch.long), True)
    shares = [spread.negatives[gamma].hardest(fraction) for gamma in GAMMAS]
    assert (np.diff(shares) >= -LogHistogram.ERROR).all()


@pytest.mark.parametrize('gamma', GAMMAS)
def test_losses_are_those_of_the_focal_loss(gamma):
    logits = torch.randn(200, 4, dtype=torch.float64) * 8
    labels = torch.randint(0, 5, (200,))
    terms = FusedFocalLoss(gamma=gamma, alpha=None)(
        logits, labels, reduction_override='none'
    )
    positive = labels < 4
    own = terms[positive].gather(1, labels[positive, None])[:, 0]
    found = [x.exp() for x in log_losses(logits, labels, gamma)]
    expected = [own, terms[~positive].sum(dim=1)]
    assert_close(found, expected, rtol=1e-7, atol=0)


def test_gamma_zero_is_cross_entropy_of_a_sigmoid():
    logits = torch.randn(50, 3, dtype=torch.float64) * 5
    labels = torch.full((50,), 3)
    found = log_losses(logits, labels, 0)[1].exp()
    expected = F.softplus(logits).sum(dim=1)
    assert_close(found, expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize('gamma', GAMMAS)
def test_a_softmax_costs_its_error_to_gamma_times_cross_entropy(gamma):
    logits = torch.randn(100, 4, dtype=torch.float64) * 3
    labels = torch.randint(0, 4, (100,))
    minus_ln_p = F.cross_entropy(logits, labels, reduction='none')
    losses = (1 - (-minus_ln_p).exp()) ** gamma * minus_ln_p
    found = [x.exp() for x in log_losses(logits, labels, gamma, False)]
    expected = [losses[labels < 3], losses[labels == 3]]
    assert_close(found, expected, rtol=1e-7, atol=0)


@given(logit=st.floats(-300, 300), gamma=st.floats(0, 6))
@settings(deadline=None)
def test_fifty_digits_agree_on_the_logarithm(logit, gamma):
    log_p, log_u = log_terms(torch.tensor([logit], dtype=torch.float64))
    with mpmath.workdps(50 + 140):
        p = 1 / (1 + mpmath.exp(-mpmath.mpf(logit)))
        expected = mpmath.log(p**gamma * -mpmath.log(1 - p))
    found = (gamma * log_p + log_u).item()
    assert found == pytest.approx(float(expected), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_halves_are_computed_in_single_precision(dtype):
    logits = torch.tensor([[-20.0, -30], [12, -12]], dtype=dtype)
    labels = torch.tensor([2, 0])
    found = log_losses(logits, labels, 5)
    expected = log_losses(logits.float(), labels, 5)
    assert_close(found, expected, rtol=0, atol=0)
    assert found[1].item() == pytest.approx(-120, rel=1e-4)


@pytest.mark.parametrize('use_sigmoid', [True, False])
def test_chunks_change_nothing_and_bound_the_rows(monkeypatch, use_sigmoid):
    logits, labels = torch.randn(100, 4), torch.arange(100) % 4
    labels += use_sigmoid  # Then 4 is the background, else 3.
    whole, parts = LossSpread([0.0, 2.0]), LossSpread([0.0, 2.0])
    whole.add(logits, labels, use_sigmoid)
    rows = []

    def spied(logits, labels, use_sigmoid):
        rows.append(len(labels))
        return background_logits(logits, labels, use_sigmoid)

    monkeypatch.setattr(loss_distribution, 'background_logits', spied)
    monkeypatch.setattr(loss_distribution, 'CHUNK', 31)
    parts.add(logits, labels, use_sigmoid)
    assert rows == [7] * 14 + [2]
    assert_same_spread(parts, whole)


def test_a_sum_of_spreads_is_that_of_all_anchors_and_leaves_them():
    logits, labels = torch.randn(20, 3), torch.randint(0, 4, (20,))
    whole, one, two = (LossSpread([0.0, 2.0]) for _ in range(3))
    whole.add(logits, labels, True)
    one.add(logits[:8], labels[:8], True)
    two.add(logits[8:], labels[8:], True)
    both = one + two
    assert_same_spread(both, whole)
    both.add(logits, labels, True)
    for spread, count in ((one, 8), (two, 12)):
        groups = (spread.positives, spread.negatives)
        assert sum(group[2.0].count for group in groups) == count


def assert_same_spread(found: LossSpread, expected: LossSpread) -> None:
    for name in ('positives', 'negatives'):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert list(ours) == list(theirs)
        for gamma, histogram in theirs.items():
            assert histogram.count > 0
            assert_array_equal(ours[gamma].counts, histogram.counts)
            assert_allclose(ours[gamma].sums, histogram.sums, rtol=1e-6)


def test_positives_and_negatives_are_counted_by_themselves():
    spread = LossSpread([2.0])
    labels = torch.tensor([0, 3, 3, 1, 3])
    spread.add(torch.randn(5, 3), labels, use_sigmoid=True)
    spread.add(torch.randn(5, 4), labels, use_sigmoid=False)
    assert spread.positives[2.0].count == 4
    assert spread.negatives[2.0].count == 6

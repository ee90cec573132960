"""What counts as a number, and how it is shown."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdet_retina_plus.common.numbers import (
    is_finite,
    is_number,
    show_number,
    show_threshold,
)


@pytest.mark.parametrize('value', [True, False, '1', None, [1], 1j])
def test_booleans_and_texts_are_no_numbers(value):
    assert not is_number(value)
    assert not is_finite(value)


@pytest.mark.parametrize('value', [0, -2, 0.5, 1e308, 10**300])
def test_what_a_float_can_hold_is_finite(value):
    assert is_number(value)
    assert is_finite(value)


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf, 10**400])
def test_other_numbers_are_not_finite(value):
    assert is_number(value)
    assert not is_finite(value)


@pytest.mark.parametrize(
    ('number', 'text'),
    [(2.0, '2'), (0.5, '0.5'), (2.0000001, '2.0000001'), (1e-8, '1e-08')],
)
def test_a_number_is_short_where_that_is_exact(number, text):
    assert show_number(number) == text


@given(st.floats(allow_nan=False) | st.integers(-(2**53), 2**53))
def test_what_is_shown_reads_as_the_same_number(number):
    assert float(show_number(number)) == number


@given(st.floats(0, 1))
def test_a_threshold_as_shown_keeps_the_score(score):
    assert score - 0.001 <= float(show_threshold(score)) <= score


@given(st.integers(0, 1000))
def test_a_threshold_of_three_digits_is_shown_as_it_is(thousandths):
    score = thousandths / 1000
    assert float(show_threshold(score)) == score

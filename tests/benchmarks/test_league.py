"""The league's page is what its data say."""

import math
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.league import (
    DOCS,
    data_of,
    difference,
    markdown,
    spread_of,
)
from benchmarks.result_tables import fill


def test_the_pages_tables_are_those_of_the_data():
    text = (DOCS / 'league.md').read_text()
    assert fill(text, 'table', markdown) == text
    assert '| `assigner_atss` |' in text


@pytest.mark.parametrize(
    ('mean', 'spread', 'text'),
    [(41.9, 1.0, 'none'), (42.0, 1.0, '+2.0'), (37.5, 1.0, '-2.5')],
)
def test_a_difference_below_twice_the_spread_is_none(mean, spread, text):
    assert difference(mean, 40.0, spread) == text
    assert difference(mean, 40.0, math.nan) == 'unknown'


def test_the_spread_is_pooled_over_strategies_with_several_seeds():
    runs = pd.DataFrame(
        dict(strategy=['a', 'a', 'b', 'b', 'c'], AP=[1, 3, 10, 14, 99.0])
    )
    assert spread_of(runs) == pytest.approx(math.sqrt((2 + 8) / 2))
    assert math.isnan(spread_of(runs[runs.strategy == 'c']))


@pytest.mark.parametrize(
    ('folder', 'preset'),
    [
        ('data/lab/', 'easy'),
        ('data/lab-tiny/', 'tiny'),
        ('data/pennfudan', 'pennfudan'),
    ],
)
def test_rows_name_the_preset_of_the_lab(folder, preset):
    assert data_of(Path(folder)) == preset

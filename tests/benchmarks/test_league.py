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
    ('gap', 'seeds', 'text'),
    [
        (1.9, (3, 3), 'none'),
        (2.0, (3, 3), '+2.0'),
        (-2.5, (3, 2), '-2.5'),
        (2.8, (1, 1), 'none'),
        (-2.9, (1, 1), '-2.9'),
        (2.4, (1, 3), '+2.4'),
    ],
)
def test_a_difference_below_twice_the_spread_is_none(gap, seeds, text):
    assert difference(gap, 1.0, seeds) == text
    assert difference(gap, math.nan, seeds) == 'unknown'


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

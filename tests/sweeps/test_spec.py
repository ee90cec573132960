"""Laws of sweeps as data."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdet_retina_plus.sweeps.point_labels import identity
from mmdet_retina_plus.sweeps.spec import (
    distinct,
    expand,
    point_text,
    read_point,
    read_sweep,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(-9, 9),
    lambda inner: st.lists(inner) | st.tuples(inner, inner),
    max_leaves=4,
)
points = st.dictionaries(st.text(min_size=1), values, min_size=1, max_size=4)


def write(folder: Path, text: str) -> Path:
    path = folder / 'spec.py'
    path.write_text(text)
    return path


@given(points)
def test_a_point_survives_its_text(point):
    assert read_point(point_text(point)) == point
    assert list(read_point(point_text(point))) == list(point)


@given(points)
def test_the_order_of_keys_does_not_matter(point):
    backwards = dict(reversed(point.items()))
    assert identity(backwards) == identity(point)


def test_a_product_has_every_cell_and_its_last_key_is_the_fastest():
    assert expand(dict(gamma=[1, 2], alpha=[3, 4])) == [
        dict(gamma=1, alpha=3),
        dict(gamma=1, alpha=4),
        dict(gamma=2, alpha=3),
        dict(gamma=2, alpha=4),
    ]


def test_points_come_first_and_each_once(tmp_path):
    text = """
import math
_alphas = [0.25, math.sqrt(0.25)]
config = 'base.py'
prefix = 'model.'
points = [dict(alpha=0.5, gamma=0.0), dict(gamma=5.0)]
product = dict(gamma=[0.0, 2.0], alpha=_alphas)
seeds = [0, 1]
"""
    sweep = read_sweep(write(tmp_path, text))
    assert sweep.points == [
        dict(gamma=0.0, alpha=0.5),
        dict(gamma=5.0),
        dict(gamma=0.0, alpha=0.25),
        dict(gamma=2.0, alpha=0.25),
        dict(gamma=2.0, alpha=0.5),
    ]
    assert sweep.seeds == [0, 1]
    assert sweep.config == tmp_path / 'base.py'
    assert sweep.changes(dict(gamma=1.0)) == {'model.gamma': 1.0}


def test_equal_points_are_one():
    assert distinct([dict(a=1, b=2), dict(b=2, a=1), dict(a=1)]) == [
        dict(a=1, b=2),
        dict(a=1),
    ]
    assert distinct([dict(a=[1]), dict(a=(1.0,))]) == [dict(a=[1])]
    assert len(distinct([dict(a=1), dict(a=True), dict(a='1')])) == 3


def test_a_spec_may_use_what_python_has(tmp_path):
    text = """
from itertools import product as cells
from pathlib import Path
import numpy as np
config = 'base.py'
points = tuple(dict(a=_a, b=_b) for _a, _b in cells((1, 2), (3,)))
product = dict(a=np.linspace(0, 1, 3), c=(np.int64(4), np.array([5.0])))
seeds = range(2)
"""
    sweep = read_sweep(write(tmp_path, text))
    assert sweep.points[:2] == [dict(a=1, b=3), dict(a=2, b=3)]
    assert sweep.points[2:4] == [dict(a=0.0, c=4), dict(a=0.0, c=[5.0])]
    assert len(sweep.points) == 8
    assert sweep.seeds == [0, 1]


BAD = {
    "config = 'x.py'\npoint = [dict(a=1)]": 'did you mean points',
    "config = 'x.py'\n": 'must set points or product',
    'points = [dict(a=1)]': 'must set config.*--config',
    "config = 'x.py'\npoints = [dict(a=1)]\ngammas = [1]": (
        r'sets gammas, which a sweep does not have \(Start'
    ),
    "config = 'x.py'\npoints = [{1: 2}]": 'list of dicts',
    "config = 'x.py'\nproduct = None": 'list of values',
    "config = 'x.py'\nproduct = {1: [2]}": 'list of values',
    "config = 'x.py'\npoints = [dict(a=1)]\nseeds = [True]": 'whole numbers',
    "config = 'x.py'\npoints = [dict(a=1)]\nseeds = [2**32]": 'to 2147483647',
    'config = 3\npoints = [dict(a=1)]': 'to strings',
    "config = 'x.py'\npoints = [dict(a=1)]\nseeds = []": 'whole numbers',
    "config = 'x.py'\npoints = [dict(a=float('inf'))]": 'finite numbers',
    "config = 'x.py'\npoints = [dict(a=print)]": 'plain values',
    'points = [': 'SyntaxError',
    "config = 'x.py'\npoints = dict(a=1)": 'list of dicts',
    "config = 'x.py'\npoints = [dict()]\n": 'list of dicts',
    "config = 'x.py'\nproduct = dict(a=1)": 'list of values',
    "config = 'x.py'\nproduct = dict(a=[])": 'list of values',
    "config = 'x.py'\npoints = [dict(a=1)]\nseeds = 3": 'whole numbers',
    "config = 'x.py'\npoints = [dict(a=1)]\nseeds = [0.5]": 'whole numbers',
}


@pytest.mark.parametrize('text', BAD)
def test_a_bad_spec_names_the_fix(tmp_path, text):
    with pytest.raises(ValueError, match=BAD[text]):
        read_sweep(write(tmp_path, text))


def test_the_spec_of_the_docs_is_one(tmp_path):
    page = Path(__file__).parents[2] / 'docs/sweeps.md'
    (block,) = re.findall(
        r'```python\n# spec\n(.*?)```', page.read_text(), re.DOTALL
    )
    sweep = read_sweep(write(tmp_path, block))
    assert len(sweep.points) == 5  # (2, .25) is in both
    assert sweep.seeds == [0, 1, 2]


def test_points_may_name_their_configs_relative_to_the_spec(tmp_path):
    text = """
prefix = 'model.'
points = [dict(config='lab/a.py'), dict(config='../b.py', alpha=1)]
"""
    sweep = read_sweep(write(tmp_path, text))
    paths = [str(tmp_path / 'lab/a.py'), str(tmp_path.parent / 'b.py')]
    assert sweep.configs == paths
    assert [sweep.changes(point) for point in sweep.points] == [
        {},
        {'model.alpha': 1},
    ]
    with pytest.raises(ValueError, match='leave --config out'):
        read_sweep(write(tmp_path, text), Path('c.py'))


def test_a_spec_named_in_two_ways_has_the_same_points(tmp_path, monkeypatch):
    path = write(tmp_path, "points = [dict(config='a.py')]")
    monkeypatch.chdir(tmp_path)
    assert read_sweep(path).points == read_sweep(Path(path.name)).points


def test_a_product_has_configs_too(tmp_path):
    text = "product = dict(config=['a.py', 'b.py'], alpha=[1, 2])"
    sweep = read_sweep(write(tmp_path, text))
    assert len(sweep.points) == 4
    assert sweep.configs == [str(tmp_path / name) for name in ('a.py', 'b.py')]


def test_a_point_without_a_config_has_the_specs(tmp_path):
    text = "points = [dict(config='a.py'), dict(alpha=1)]"
    with pytest.raises(ValueError, match='must set config'):
        read_sweep(write(tmp_path, text))
    sweep = read_sweep(write(tmp_path, f"config = 'c.py'; {text}"))
    assert sweep.configs == [str(tmp_path / name) for name in ('a.py', 'c.py')]
    with pytest.raises(ValueError, match='config of a point to a string'):
        read_sweep(write(tmp_path, 'points = [dict(config=1)]'))

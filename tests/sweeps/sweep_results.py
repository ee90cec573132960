"""Results of sweeps, shared by the tests of their report."""

from typing import Any

import pandas as pd
from hypothesis import strategies as st

from mmdet_retina_plus.sweeps.charts import make_charts
from mmdet_retina_plus.sweeps.summary import (
    SweepResult,
    TrialResult,
    summarize,
)

PAIRS = [(0.0, 0.75), (0.1, 0.75), (0.5, 0.5), (1.0, 0.25), (2.0, 0.25)]
"""Gamma and alpha, some of the paper's table 1b."""
NASTY = '<script>alert(1)</script> | `a` $x$ %{x} </pre>\n\n'
"""An error that no format may take for its own."""


ANY_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=2)
    ),
    max_leaves=4,
)
ANY_POINTS = st.lists(
    st.dictionaries(st.text(min_size=1), ANY_VALUES, max_size=4), max_size=4
)
ODD_VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=50)
    | st.lists(st.floats(), max_size=3)
)
ODD_POINTS = st.lists(
    st.dictionaries(
        st.sampled_from('ab$') | st.text(), ODD_VALUES, max_size=3
    ),
    min_size=1,
    max_size=4,
)
"""With keys that the points share, and values that no axis can hold."""


def make_trial(number: int, point: dict[str, Any], **changes) -> TrialResult:
    """A complete trial with an mAP near .3, or what `changes` say."""
    value = 0.3 + 0.001 * number
    fields = dict(
        number=number,
        point=point,
        seed=0,
        state='complete',
        value=value,
        curve={100: 0.1, 200: value},
        seconds=600.0 + number,
        error='',
        folder=f'work_dirs/sweep/{number}',
    )
    return TrialResult(**{**fields, **changes})


def make_sweep(
    points: list[dict[str, Any]], trials: list[TrialResult], **changes
) -> SweepResult:
    fields = dict(
        name='focal_gamma_alpha',
        config='../retinanet_r18_fpn_shapes.py',
        metric='coco/bbox_mAP',
        prefix='model.bbox_head.loss_cls.',
        points=points,
        seeds=[0, 1, 2],
        trials=trials,
    )
    return SweepResult(**{**fields, **changes})


def one_trial_each(points: list[dict[str, Any]], **changes) -> SweepResult:
    """A finished sweep of one seed."""
    trials = [make_trial(*pair) for pair in enumerate(points)]
    return make_sweep(points, trials, **{'seeds': [0], **changes})


def unfinished_sweep() -> SweepResult:
    """Every state a trial may be in; 15 are planned, 4 not begun."""
    points = [dict(gamma=gamma, alpha=alpha) for gamma, alpha in PAIRS]
    trials = [make_trial(number, point) for number, point in enumerate(points)]
    running = dict(seed=1, value=0.1, curve={100: 0.1}, seconds=300.0)
    unheard = dict(seed=1, value=None, curve={}, seconds=None)
    trials += [
        make_trial(5, points[0], seed=1, value=0.32),
        make_trial(6, points[1], state='running', **running),
        make_trial(7, points[2], state='pruned', **running),
        make_trial(8, points[3], state='failed', error=NASTY, **running),
        make_trial(9, points[4], state='waiting', **unheard),
        make_trial(10, points[0], **{**running, 'seed': 2}, state='running'),
    ]
    return make_sweep(points, trials)


def charts_of(sweep: SweepResult) -> dict[str, dict[str, Any]]:
    """Every chart of a sweep by its name."""
    return make_charts(summarize(sweep))


def data_of(chart: dict[str, Any]) -> pd.DataFrame:
    """What a chart draws, which all its layers share."""
    (rows,) = chart['datasets'].values()
    return pd.DataFrame(rows)


def channel(chart: dict[str, Any], name: str) -> dict[str, Any]:
    """How the first layer with a channel has it."""
    layers = [chart]
    while layers:
        layer = layers.pop(0)
        if name in layer.get('encoding', {}):
            return layer['encoding'][name]
        layers = layer.get('layer', []) + layers
    raise KeyError(name)

"""Laws of charts as figures of plotly."""

import json

from hypothesis import given, settings

from mmdet_retina_plus.sweeps.plotly_figures import make_figure
from tests.sweeps.sweep_results import ODD_POINTS, charts_of, one_trial_each


@settings(deadline=None, max_examples=4)
@given(ODD_POINTS)
def test_any_point_has_a_figure_with_its_traces(points):
    for chart in charts_of(one_trial_each(points)).values():
        traces = json.loads(make_figure(chart).to_json())['data']
        assert traces
        assert all(trace['hovertext'] for trace in traces)

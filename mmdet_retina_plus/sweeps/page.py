"""HTML page of a sweep that works offline."""

from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment

from mmdet_retina_plus.common.html_page import page

from .point_labels import clip
from .summary import Summary, error_lines
from .tables import failures, point_table

TEMPLATE = Path(__file__).with_name('page.html')


def page_html(summary: Summary, charts: dict[str, dict[str, Any]]) -> str:
    """Render the page.

    Args:
        summary: Summary of the sweep.
        charts: Specification of Vega-Lite of each chart, by name.
    """
    keys, table = point_table(summary)
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text())
    body = template.render(
        summary=summary,
        sweep=summary.sweep,
        now=datetime.now().astimezone().strftime('%Y-%m-%d %H:%M %Z'),
        keys=keys,
        heads=map(clip, table.columns),
        rows=table.to_numpy(),
        is_best=list(summary.points['mean'] == summary.best),
        charts=charts,
        failures=[
            (trial, error_lines(trial.error) or ['no message'])
            for trial in failures(summary).itertuples()
        ],
    )
    return page(summary.sweep.name, body, script() if charts else '')


@cache
def script() -> str:
    """JavaScript that draws specifications of Vega-Lite."""
    return vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;')

"""Write the report of a sweep: tables, a page and pictures."""

from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment

from mmdet_retina_plus.common.html_page import page
from mmdet_retina_plus.common.output_files import replace

from .charts import CHARTS, make_charts
from .point_labels import clip
from .summary import Summary, SweepResult, summarize
from .tables import failures, point_table, summary_markdown, trials_csv

TEMPLATE = Path(__file__).with_name('page.html')


def write_report(sweep: SweepResult, out: Path) -> list[Path]:
    """Write trials.csv, summary.md, index.html and a PNG file per chart.

    Args:
        sweep: Sweep in any state; a chart without any value is left out.
        out: Folder, made if it is missing. Files of an earlier report are
            replaced, each as a whole; obsolete charts are removed.

    Returns:
        The files.
    """
    summary = summarize(sweep)
    charts = make_charts(summary)
    contents: dict[str, str | bytes] = {
        'trials.csv': trials_csv(sweep),
        'summary.md': summary_markdown(summary),
        'index.html': page_html(summary, charts),
        **{
            f'{name}.png': vl_convert.vegalite_to_png(chart, ppi=130)
            for name, chart in charts.items()
        },
    }
    was_ours = (out / 'index.html').is_file()
    out.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        replace(out / name, content)
    for name in CHARTS:
        if was_ours and f'{name}.png' not in contents:
            (out / f'{name}.png').unlink(missing_ok=True)
    return [out / name for name in contents]


def page_html(summary: Summary, charts: dict[str, dict[str, Any]]) -> str:
    """HTML page of a sweep that works offline.

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
        failures=failures(summary).to_dict('records'),
    )
    return page(summary.sweep.name, body, script() if charts else '')


@cache
def script() -> str:
    """JavaScript that draws specifications of Vega-Lite."""
    return vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;')

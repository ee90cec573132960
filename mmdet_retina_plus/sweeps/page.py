"""HTML page of a sweep with plotly's plots, which needs no network."""

from datetime import datetime
from html import escape

from mmdet_retina_plus.common.html_page import page
from mmdet_retina_plus.common.plotly_html import figure_html, plotly_script

from .charts import Chart
from .plotly_figures import make_figure
from .point_labels import clip, keys_of
from .summary import PointResult, best_mean, error_lines, is_best, show_counts
from .sweep_result import SweepResult
from .tables import failures, table_cells, table_head

USAGE = (
    'Point at a mark for its values; drag to zoom, double-click to go back; '
    'click in a legend to hide a line.'
)


def page_html(
    sweep: SweepResult, results: list[PointResult], charts: list[Chart]
) -> str:
    """The whole page.

    Raises:
        ImportError: plotly is missing.
    """
    script = plotly_script('The page of a sweep', 'sweep')
    sections = [chart_html(chart) for chart in charts]
    if not any(result.metric for result in results):
        sections.insert(0, '<p>No trial has a result yet.</p>')
    if charts:
        sections.append(f'<p class="note">{USAGE}</p>')
    body = [
        headline_html(sweep, results),
        table_html(sweep, results),
        ''.join(sections),
        failures_html(results),
    ]
    return page(sweep.name, '\n'.join(body), script)


def headline_html(sweep: SweepResult, results: list[PointResult]) -> str:
    prefix = f' at <code>{escape(sweep.prefix)}</code>' if sweep.prefix else ''
    now = datetime.now().astimezone()
    return f"""<h1>{escape(sweep.name)}</h1>
<p><code>{escape(sweep.config)}</code>{prefix}, metric
<code>{escape(sweep.metric)}</code></p>
<p><b>{show_counts(results)}</b>, as of {now:%Y-%m-%d %H:%M %Z}</p>"""


def table_html(sweep: SweepResult, results: list[PointResult]) -> str:
    keys = keys_of(result.point for result in results)
    best = best_mean(results)
    full = [sweep.prefix + key for key in keys]
    titles = [f' title="{escape(name)}"' for name in full] + [''] * 5
    heads = [
        f'<th{column_class(index, keys)}{title}>{escape(clip(text))}</th>'
        for index, (text, title) in enumerate(
            zip(table_head(sweep, keys), titles, strict=True)
        )
    ]
    rows = []
    for result in results:
        cells = [
            f'<td{column_class(index, keys)}>{escape(text)}</td>'
            for index, text in enumerate(table_cells(sweep, result, keys))
        ]
        mark = ' class="best"' if is_best(result, best) else ''
        rows.append(f'<tr{mark}>{"".join(cells)}</tr>\n')
    return f"""<div class="wide"><table>
<thead><tr>{''.join(heads)}</tr></thead>
<tbody>
{''.join(rows)}
</tbody></table></div>
<p class="note">Mean ± sample standard deviation over finished seeds, the best
mean shaded; mean time of a trial.</p>"""


def column_class(index: int, keys: list[str]) -> str:
    return '' if index < len(keys) else ' class="number"'


def failures_html(results: list[PointResult]) -> str:
    """Errors of the failed trials, folded."""
    parts = []
    for result, trial in failures(results):
        lines = error_lines(trial.error) or ['no message']
        parts.append(
            f'<details><summary>Trial {trial.number} ({escape(result.label)}, '
            f'seed {trial.seed}): <code>{escape(lines[-1])}</code></summary>'
            f'<pre>{escape(chr(10).join(lines))}</pre>'
            f'<p class="note"><code>{escape(trial.folder)}</code></p>'
            '</details>'
        )
    if not parts:
        return ''
    return '\n'.join(['<h2>Failures</h2>', *parts])


def chart_html(chart: Chart) -> str:
    plot = figure_html(make_figure(chart), chart.name)
    return (
        f'<section><h2>{escape(clip(chart.title, 90))}</h2>'
        f'<p class="note">{escape(chart.note)}</p>{plot}</section>\n'
    )

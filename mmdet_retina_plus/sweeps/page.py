"""A sweep as one HTML page that needs no network, with plotly's plots."""

from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from .charts import PALETTE, Chart, Curves, Dots, HeatMap, Lines, Spot
from .point_labels import clip, keys_of
from .summary import PointResult, best_mean, error_lines, is_best, show_counts
from .sweep_result import SweepResult
from .tables import failures, table_cells, table_head

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
"""The browser itself forbids the page to fetch anything."""
USAGE = (
    'Point at a mark for its values; drag to zoom, double-click to go back; '
    'click in a legend to hide a line.'
)
STYLE = """
body { margin: 0; background: #fafaf8; color: #222;
  font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 26px; margin: 0; }
h2 { font-size: 18px; margin: 36px 0 0; }
p { margin: 4px 0 8px; }
.note { color: #555; font-size: 14px; }
code, pre { font-family: ui-monospace, monospace; font-size: 13px; }
pre { overflow-x: auto; margin: 4px 0 12px; padding: 10px 12px;
  background: #f1f1ee; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin-top: 8px;
  font-variant-numeric: tabular-nums; }
th, td { padding: 5px 14px 5px 0; text-align: left; white-space: nowrap;
  border-bottom: 1px solid #e4e4e0; }
th { font-weight: 600; border-bottom-color: #999; }
.number { text-align: right; }
.best td { background: #e8f1f8; font-weight: 600; }
"""


def page_html(
    sweep: SweepResult, results: list[PointResult], charts: list[Chart]
) -> str:
    """The whole page.

    Raises:
        ImportError: plotly is missing.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ImportError(
            'The page of a sweep needs plotly: '
            'pip install "mmdet_retina_plus[sweep]"'
        ) from error
    sections = [chart_html(chart) for chart in charts]
    if not any(result.metric for result in results):
        sections.insert(0, '<p>No trial has a result yet.</p>')
    if charts:
        sections.append(f'<p class="note">{USAGE}</p>')
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(sweep.name)}</title>
<style>{STYLE}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
<main>
{headline_html(sweep, results)}
{table_html(sweep, results)}
{''.join(sections)}
{failures_html(results)}
</main>
</body>
</html>
"""


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
        f'<th{kind(index, keys)}{title}>{escape(clip(text))}</th>'
        for index, (text, title) in enumerate(
            zip(table_head(sweep, keys), titles, strict=True)
        )
    ]
    rows = []
    for result in results:
        cells = [
            f'<td{kind(index, keys)}>{escape(text)}</td>'
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


def kind(index: int, keys: list[str]) -> str:
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
    import plotly.io

    plot = plotly.io.to_html(
        make_figure(chart),
        full_html=False,
        include_plotlyjs=False,
        config=dict(displayModeBar=False, responsive=True),
        div_id=chart.name,
    )
    return (
        f'<section><h2>{escape(clip(chart.title, 90))}</h2>'
        f'<p class="note">{escape(chart.note)}</p>{plot}</section>\n'
    )


def make_figure(chart: Chart) -> 'Figure':
    """The chart for plotly."""
    import plotly.graph_objects as go

    figure = go.Figure()
    style_figure(figure, chart)
    match chart:
        case Lines():
            add_lines(figure, chart)
        case Dots():
            add_dots(figure, chart)
        case HeatMap():
            add_heat_map(figure, chart)
        case Curves():
            add_curves(figure, chart)
    return figure


def style_figure(figure: 'Figure', chart: Chart) -> None:
    axis = dict(
        gridcolor='#e6e6e6',
        zeroline=False,
        linecolor='#888888',
        ticks='outside',
        automargin=True,
    )
    figure.update_layout(
        template='none',
        height=420,
        margin=dict(l=60, r=20, t=20, b=50),
        paper_bgcolor='#fafaf8',
        plot_bgcolor='#fafaf8',
        font=dict(family='system-ui, sans-serif', size=13, color='#222222'),
        hoverlabel=dict(bgcolor='white', font_color='#222222', align='left'),
        legend=dict(orientation='h', x=0, y=1.02, yanchor='bottom'),
        xaxis=dict(axis, title=escape(clip(chart.x_label))),
        yaxis=dict(axis, title=escape(clip(chart.y_label))),
    )


def hover_text(lines: list[str]) -> str:
    """Plotly takes some HTML, which values are not."""
    return '<br>'.join(escape(clip(line, 90)) for line in lines)


def spot_traces(
    figure: 'Figure',
    spots: list[Spot],
    sideways: bool,
    color: str,
    **mean: Any,
) -> None:
    """Means with bars, and a small mark a seed, over `x` or along `y`."""
    at, along = ('y', 'x') if sideways else ('x', 'y')
    figure.add_scatter(
        **{
            at: [spot.position for spot in spots],
            along: [spot.mean for spot in spots],
            f'error_{along}': dict(
                array=[spot.spread for spot in spots], thickness=1.2, width=4
            ),
        },
        marker=dict(color=color, size=8),
        hovertext=[hover_text(spot.hover) for spot in spots],
        hoverinfo='text',
        **mean,
    )
    figure.add_scatter(
        **{
            at: [spot.beside for spot in spots for _ in spot.values],
            along: [value for spot in spots for value in spot.values],
        },
        mode='markers',
        marker=dict(color=color, size=5, opacity=0.6),
        hovertext=[
            hover_text(lines) for spot in spots for lines in spot.value_hovers
        ],
        hoverinfo='text',
        showlegend=False,
        legendgroup=mean.get('legendgroup'),
    )


def add_lines(figure: 'Figure', chart: Lines) -> None:
    for index, line in enumerate(chart.lines):
        spot_traces(
            figure,
            line.spots,
            sideways=False,
            color=line.color,
            mode='lines+markers',
            line=dict(color=line.color, width=2),
            name=escape(line.label),
            legendgroup=str(index),
            showlegend=line.label != '',
        )
    if chart.log_x:
        figure.update_xaxes(type='log', dtick=1)


def add_dots(figure: 'Figure', chart: Dots) -> None:
    spot_traces(
        figure,
        chart.spots,
        sideways=True,
        color=PALETTE[0],
        mode='markers',
        showlegend=False,
    )
    rows = len(chart.labels)
    figure.update_yaxes(
        tickvals=list(range(rows)),
        ticktext=[escape(label) for label in chart.labels],
        range=[rows - 0.5, -0.5],
    )
    figure.update_layout(height=90 + 26 * rows)
    if chart.from_zero:
        figure.update_xaxes(rangemode='tozero')


def add_heat_map(figure: 'Figure', chart: HeatMap) -> None:
    figure.add_heatmap(
        z=chart.cells,
        text=chart.texts,
        texttemplate='%{text}',
        hovertext=[[hover_text(cell) for cell in row] for row in chart.hovers],
        hoverinfo='text',
        hoverongaps=False,
        colorscale='Cividis',
        showscale=False,
        xgap=2,
        ygap=2,
    )
    for ticks, update in (
        (chart.x_ticks, figure.update_xaxes),
        (chart.y_ticks, figure.update_yaxes),
    ):
        update(
            tickvals=list(range(len(ticks))), ticktext=ticks, showgrid=False
        )
    figure.update_layout(height=130 + 40 * len(chart.y_ticks))


def add_curves(figure: 'Figure', chart: Curves) -> None:
    seen: set[str] = set()
    for curve in chart.curves:
        figure.add_scatter(
            x=curve.steps,
            y=curve.values,
            mode='lines+markers',
            line=dict(
                color=curve.color,
                width=0.8 if curve.minor else 1.6,
                dash='dot' if curve.dotted else 'solid',
            ),
            marker=dict(size=1 if curve.minor else 4),
            hovertext=[hover_text(lines) for lines in curve.hovers],
            hoverinfo='text',
            name=escape(curve.label),
            legendgroup=curve.label,
            legendrank=1001 if curve.minor else 1000,
            showlegend=curve.label not in seen,
        )
        seen.add(curve.label)
    if chart.whole_x:
        last = max(curve.steps[-1] for curve in chart.curves)
        figure.update_xaxes(dtick=max(1, last // 8))

"""Charts as figures of plotly, which a page shows."""

from html import escape
from typing import TYPE_CHECKING, Any

from mmdet_retina_plus.common.palette import PALETTE
from mmdet_retina_plus.common.plotly_html import empty_figure

from .charts import Chart, Curves, Dots, HeatMap, Lines, Spot
from .point_labels import clip

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def make_figure(chart: Chart) -> 'Figure':
    """The chart for plotly."""
    figure = empty_figure(clip(chart.x_label), clip(chart.y_label))
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

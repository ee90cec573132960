"""Plotly figures in a page that needs no network."""

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PAPER = '#fafaf8'


def plain(text: str) -> str:
    """Escape a text for plotly, which reads HTML, and $ as a formula."""
    return escape(text).replace('$', '&#36;')


def plotly_script() -> str:
    """JavaScript that shows figures.

    Raises:
        ImportError: plotly is missing.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ImportError(
            'The page of an evaluation needs plotly: pip install '
            '"mmdet_retina_plus[evaluate]"'
        ) from error
    return get_plotlyjs()


def empty_figure(x_label: str, y_label: str) -> 'Figure':
    """Make a figure with axes in our style; labels are escaped here."""
    import plotly.graph_objects as go

    axis = dict(
        gridcolor='#e6e6e6',
        zeroline=False,
        linecolor='#888888',
        ticks='outside',
        automargin=True,
        title_standoff=12,  # Keeps long tick labels off the title.
    )
    return go.Figure().update_layout(
        template='none',
        height=420,
        margin=dict(l=60, r=20, t=20, b=50),
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font=dict(family='system-ui, sans-serif', size=13, color='#222222'),
        hoverlabel=dict(bgcolor='white', font_color='#222222', align='left'),
        legend=dict(orientation='h', x=0, y=1.02, yanchor='bottom'),
        xaxis=dict(axis, title_text=plain(x_label)),
        yaxis=dict(axis, title_text=plain(y_label)),
    )


def figure_html(figure: 'Figure', name: str) -> str:
    """HTML of a figure; `name` is its id in the page."""
    import plotly.io

    return plotly.io.to_html(
        figure,
        full_html=False,
        include_plotlyjs=False,
        config=dict(displayModeBar=False, responsive=True),
        div_id=name,
    )

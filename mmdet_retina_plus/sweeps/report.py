"""Everything that is written about a sweep."""

from pathlib import Path

from mmdet_retina_plus.common.output_files import replace

from .charts import CHARTS, make_charts
from .page import page_html
from .pictures import chart_png
from .summary import summarize_points
from .sweep_result import SweepResult
from .tables import summary_markdown, trials_csv


def write_report(sweep: SweepResult, out: Path) -> list[Path]:
    """Write trials.csv, summary.md, index.html and a PNG file a chart.

    Args:
        sweep: Sweep in any state; a chart without any value is left out.
        out: Folder, made if it is missing. Files of an earlier report are
            replaced, each as a whole, and charts that are no more go.

    Returns:
        The files.

    Raises:
        ImportError: plotly is missing.
    """
    results = summarize_points(sweep)
    charts = make_charts(sweep, results)
    contents: dict[str, str | bytes] = {
        'trials.csv': trials_csv(sweep),
        'summary.md': summary_markdown(sweep, results),
        'index.html': page_html(sweep, results, charts),
        **{f'{chart.name}.png': chart_png(chart) for chart in charts},
    }
    was_ours = (out / 'index.html').is_file()
    out.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        replace(out / name, content)
    for name in CHARTS:
        if was_ours and f'{name}.png' not in contents:
            (out / f'{name}.png').unlink(missing_ok=True)
    return [out / name for name in contents]

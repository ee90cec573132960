"""Write the report of a sweep: tables, a page and pictures."""

from pathlib import Path

import vl_convert

from mmdet_retina_plus.common.output_files import replace

from .charts import CHARTS, make_charts
from .page import page_html
from .summary import summarize
from .sweep_result import SweepResult
from .tables import summary_markdown, trials_csv


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

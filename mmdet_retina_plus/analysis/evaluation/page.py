"""Page of an evaluation, as one HTML file that needs no network."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mmdet_retina_plus.common.html_page import page, table_html, zoomed
from mmdet_retina_plus.common.numbers import show_threshold
from mmdet_retina_plus.common.text import quantity

from .figures import (
    calibration_figure,
    confusion_figure,
    error_figure,
    f1_figure,
    recall_figure,
    score_figure,
    threshold_figure,
)
from .plotly_html import figure_html, plotly_script

TITLES = {'bbox': 'Boxes', 'segm': 'Masks'}
AP_HEADS = {
    'AP': 'AP',
    'AP50': 'AP50',
    'AP75': 'AP75',
    'AP_small': 'small',
    'AP_medium': 'medium',
    'AP_large': 'large',
}
"""Columns of AP, and their heads."""
AR_HEADS = {
    'AR': 'AR',
    'AR_small': 'AR small',
    'AR_medium': 'AR medium',
    'AR_large': 'AR large',
}
NOTE = '<p class="note">{}</p>'


def page_html(content: Mapping[str, Any], sheets: Mapping[str, bytes]) -> str:
    """Make the page.

    Args:
        content: Content of evaluation.json.
        sheets: JPEG of the worst images, by metric.

    Raises:
        ImportError: plotly is missing.
    """
    script = plotly_script()
    metrics = content['metrics']
    first = next(iter(metrics.values()))
    sections = [
        '<h1>Evaluation</h1>',
        f'<p>{escape(content["source"])}</p>',
        f'<p><b>{quantity(content["images"], "image")}, '
        f'{quantity(first["objects"], "object")}, '
        f'{quantity(first["detections"], "detection")}</b></p>',
        *(f'<p>Note: {escape(line)}</p>' for line in content['notes']),
        summary_html(metrics),
    ]
    for metric, numbers in metrics.items():
        sections += metric_html(
            metric, numbers, content['classes'], sheets[metric]
        )
    return page('Evaluation', '\n'.join(sections), script)


def share(value: float | None) -> str:
    """Three digits, as CocoMetric logs them, or a dash."""
    return '-' if value is None else f'{value:.3f}'


def summary_html(metrics: Mapping[str, dict]) -> str:
    """COCO's numbers, one row per metric."""
    heads = AP_HEADS | AR_HEADS
    rows = [
        [TITLES[metric], *(share(item['summary'][key]) for key in heads)]
        for metric, item in metrics.items()
    ]
    note = NOTE.format(
        'AP is the mean over classes with objects and over IoU .5 to .95, as '
        "COCO's evaluation and mmdet's CocoMetric give it; sizes are below "
        '32², up to 96² and above, in pixels of area.'
    )
    return table_html(['', *heads.values()], rows) + note


def metric_html(
    metric: str, numbers: Mapping[str, Any], classes: list[str], sheet: bytes
) -> list[str]:
    """HTML of the sections of a metric."""
    title = TITLES[metric]

    def drawn(name: str, figure: Any) -> str:
        return figure_html(figure, f'{metric}-{name}')

    thin = 'Thin lines are classes at IoU .5. ' if len(classes) > 1 else ''
    score_thr = show_threshold(numbers['score_thr'])
    best = numbers['best']
    all_classes = 'No detection is right.'
    if best['score'] is not None:
        all_classes = (
            f'F1 of all classes together is largest, {best["F1"]:.3f}, at a '
            f'score threshold of {show_threshold(best["score"])}: precision '
            f'{best["precision"]:.3f}, recall {best["recall"]:.3f}.'
        )
    return [
        f'<h2>{title}: by class</h2>',
        classes_html(numbers['by_class']),
        NOTE.format(
            'AP by size of objects; the score threshold at which F1 at IoU .5 '
            'is largest, and its precision and recall.'
        ),
        f'<h2>{title}: precision and recall</h2>',
        drawn('recall', recall_figure(numbers)),
        NOTE.format(
            'Interpolated as in COCO: the best precision at this recall or a '
            f'higher one. {thin}Click a name in the legend to show or hide '
            'its line, double-click to show only this line.'
        ),
        drawn('thresholds', threshold_figure(numbers)),
        f'<h2>{title}: score threshold</h2>',
        f'<p>{all_classes}</p>',
        drawn('score', score_figure(numbers)),
        # For a single class it would repeat the figure above.
        *([drawn('f1', f1_figure(numbers))] if len(classes) > 1 else []),
        f'<h2>{title}: confusion</h2>',
        drawn('confusion', confusion_figure(numbers, classes)),
        NOTE.format(
            'Rows are objects, columns detections with a score of at least '
            f'{score_thr}, matched at IoU .5. The diagonal counts true '
            'positives, the last column missed objects, the last row false '
            'detections: background and duplicates. Colours show fractions of '
            'a row.'
        ),
        f'<h2>{title}: errors</h2>',
        drawn('errors', error_figure(numbers)),
        errors_html(numbers),
        NOTE.format(
            'Error types of TIDE (arXiv 2008.08115), over detections of all '
            'scores. The cost is the gain in AP at IoU .5 if only errors of '
            'this kind are corrected, so costs do not add up. Both: IoU .1 to '
            '.5 with an object of another class. Missed: no detection aims at '
            'the object, not even one with a wrong class or poor localisation.'
        ),
        f'<h2>{title}: calibration of scores</h2>',
        calibration_html(metric, numbers['calibration']),
        f'<h2>{title}: worst images</h2>',
        NOTE.format(
            'Truth on the left; detections with a score of at least '
            f'{score_thr} on the right. Images are ranked by the sum of the '
            'scores of their false detections, 1 per missed object, and 1 '
            'minus the score per found object. Click to enlarge.'
        ),
        zoomed(sheet, 'worst images, truth and detections', 'jpeg'),
    ]


def classes_html(items: Sequence[Mapping]) -> str:
    """AP and best threshold of each class."""
    rates = ('precision', 'recall', 'F1')
    head = [
        *('class', 'objects', 'detections'),
        *AP_HEADS.values(),
        *('best score', *rates),
    ]
    rows = [
        [
            item['name'],
            f'{item["objects"]:,}',
            f'{item["detections"]:,}',
            *(share(item[key]) for key in AP_HEADS),
            '-' if score is None else show_threshold(score),
            *(share(item['best'][key]) for key in rates),
        ]
        for item in items
        for score in [item['best']['score']]
    ]
    return table_html(head, rows)


def errors_html(numbers: Mapping[str, Any]) -> str:
    """Errors of all classes and of each, by kind."""
    errors = numbers['errors']
    rows = [
        ['cost in AP50', *(share(item['cost']) for item in errors.values())],
        ['all', *(f'{item["count"]:,}' for item in errors.values())],
        *(
            [
                item['name'],
                *(f'{count:,}' for count in item['errors'].values()),
            ]
            for item in numbers['by_class']
        ),
    ]
    return table_html(['', *errors], rows)


def calibration_html(metric: str, calibration: Mapping | None) -> str:
    if calibration is None:
        return '<p>Scores are not probabilities: some are not in 0 to 1.</p>'
    plot = figure_html(
        calibration_figure(calibration), f'{metric}-calibration'
    )
    note = NOTE.format(
        'Precision of detections with similar scores. ECE is the mean '
        'difference of precision and score over bins, weighted by detections, '
        'so the many low scores dominate.'
    )
    return f'<p>ECE {calibration["ECE"]:.3f}</p>{plot}{note}'

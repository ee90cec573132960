"""Check arguments of mmdet's CocoMetric that it reads only when scoring."""

from collections.abc import Callable, Mapping
from typing import Any

from mmdet_retina_plus.common.config_tree import kind
from mmdet_retina_plus.common.suggestions import near_name

from .findings import Finding

METRICS = ('bbox', 'segm', 'proposal', 'proposal_fast')
OF_PRECISION = 100
"""Boxes per image and class that pycocotools counts for AP."""
PROPOSALS = 3
"""Number of proposal limits that pycocotools summarises."""
ITEMS = (
    *('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l'),
    *('AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000', 'AR_l@1000'),
)


def names_metrics(value: Any) -> bool:
    # CocoMetric treats a tuple as a single metric.
    named = value if isinstance(value, list) else [value]
    return all(isinstance(x, str) and x in METRICS for x in named)


def are_proposals(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == PROPOSALS
        and all(isinstance(x, int) and x > 0 for x in value)
        and OF_PRECISION in value
    )


def are_items(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(x in ITEMS for x in value)


WANTED: dict[str, tuple[Callable[[Any], bool], str, str]] = {
    'metric': (names_metrics, f'one or a list of {", ".join(METRICS)}', ''),
    'proposal_nums': (
        are_proposals,
        'three numbers of boxes, 100 among them, with which AP is taken',
        '(100, 300, 1000)',
    ),
    'metric_items': (are_items, 'a list of names of its metrics', ''),
    # pycocotools compares with 0.5 by ==, which is False for a list.
    'iou_thrs': (
        lambda value: False,
        'None, which means 0.5 to 0.95: scoring stops with any other value',
        'None',
    ),
}
"""A test of the value, its description, and a default; '': the nearest."""


def nearest(name: str, value: Any) -> str:
    """Python source of the valid value nearest to an invalid one."""
    known = METRICS if name == 'metric' else ITEMS
    given = value if isinstance(value, list | tuple) else [value]
    right = []
    for one in given:
        # mAP, as other libraries call it, resembles none of them.
        near = near_name(str(one), known, known is ITEMS) or known[0]
        if near not in right:
            right.append(near)
    single = name == 'metric' and len(right) == 1
    return repr(right[0] if single else right)


def explain_arguments(key: str, evaluator: Any) -> list[Finding]:
    """Find invalid arguments that may explain a failure to score.

    Args:
        key: Dotted key of the evaluator.
        evaluator: Its config, with one metric or several.
    """
    several = isinstance(evaluator, list | tuple)
    metrics = list(evaluator) if several else [evaluator]
    inner = evaluator.get('metrics') if isinstance(evaluator, Mapping) else ()
    places = {
        f'{key}[{n}]' if several else key: metric
        for n, metric in enumerate(metrics)
    } | {f'{key}.metrics[{n}]': x for n, x in enumerate(inner or ())}
    for place, metric in places.items():
        if not kind(metric).endswith('CocoMetric'):
            continue
        if metric.get('format_only') and not metric.get('outfile_prefix'):
            message = 'format_only=True needs a file name'
            fix = f"{place}.outfile_prefix='results'"
            return [Finding('error', key, message, fix)]
        for name, (fits, wanted, right) in WANTED.items():
            value = metric.get(name)
            if value is None or fits(value):
                continue
            return [
                Finding(
                    'error',
                    key,
                    f'{name} is {value!r}, not {wanted}',
                    f'{place}.{name}={right or nearest(name, value)}',
                )
            ]
    return []

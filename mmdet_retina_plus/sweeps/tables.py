"""A sweep as CSV, a row a trial, and as Markdown, a row a point."""

import ast
import csv
import io
import re
from typing import Any

from .point_labels import (
    config_names,
    keys_of,
    short_keys,
    show_point,
    show_value,
)
from .summary import (
    PointResult,
    best_mean,
    error_lines,
    is_best,
    show_counts,
)
from .sweep_result import SweepResult, TrialResult
from .units import metric_unit, show_seconds

COLUMNS = ('trial', 'seed', 'state', 'metric', 'seconds', 'error', 'folder')
"""Columns of the CSV beside the keys of the points."""


def read_value(text: str) -> Any:
    """The value of a cell of the CSV: a Python literal, or a plain string.

    Numbers, strings, None, booleans and their containers come back as they
    were. An empty cell is no value: None.
    """
    if not text:
        return None
    if text in ('nan', 'inf', '-inf'):
        return float(text)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def write_value(value: Any) -> str:
    """Text that `read_value` takes back: quoted only where it must be."""
    if (
        isinstance(value, str)
        and value.isprintable()
        and value
        and read_value(value) == value
    ):
        return value
    return repr(value)


def key_columns(keys: list[str]) -> dict[str, str]:
    """Name of each key's column: the key, or `point.KEY` if that is taken."""
    taken = {*COLUMNS}
    names: dict[str, str] = {}
    for key in keys:
        name = show_value(key)
        while name in taken or (name != key and name in keys):
            name = f'point.{name}'
        taken.add(name)
        names[key] = name
    return names


def trials_csv(sweep: SweepResult) -> str:
    """One row a trial in order of their numbers, a column a key."""
    columns = key_columns(
        keys_of([*sweep.points, *(trial.point for trial in sweep.trials)])
    )
    text = io.StringIO()
    writer = csv.DictWriter(
        text,
        [COLUMNS[0], *columns.values(), *COLUMNS[1:]],
        lineterminator='\n',
    )
    writer.writeheader()
    for trial in sorted(sweep.trials, key=lambda trial: trial.number):
        writer.writerow(trial_row(trial, columns))
    return text.getvalue()


def trial_row(trial: TrialResult, columns: dict[str, str]) -> dict[str, Any]:
    return {
        'trial': trial.number,
        **{
            columns[key]: write_value(value)
            for key, value in trial.point.items()
        },
        'seed': trial.seed,
        'state': trial.state,
        'metric': trial.value,
        'seconds': trial.seconds,
        'error': ' / '.join(error_lines(trial.error)),
        'folder': show_value(trial.folder),
    }


def cell(text: str) -> str:
    """Text for Markdown, as code unless every character is harmless."""
    if re.fullmatch(r'[\w ().,:+=/%±-]*', text) and '__' not in text:
        return text
    fence = '`' * (max(map(len, re.findall('`+', text)), default=0) + 1)
    space = ' ' if text.startswith('`') or text.endswith('`') else ''
    return f'{fence}{space}{text}{space}{fence}'


def table_row(cells: list[str]) -> str:
    escaped = [text.replace('|', r'\|') for text in cells]
    return f'| {" | ".join(escaped)} |'


def table_head(sweep: SweepResult, keys: list[str]) -> list[str]:
    """Titles of the columns that `table_cells` fills."""
    names = short_keys(keys)
    return [
        *(show_value(names[key]) for key in keys),
        metric_unit(sweep.metric).label,
        'finished',
        'failed',
        'pruned',
        'time',
    ]


def table_cells(
    sweep: SweepResult, result: PointResult, keys: list[str]
) -> list[str]:
    """A point's row as plain text; empty where there is nothing to say."""
    names = config_names([*sweep.points, result.point])
    shown = show_point(result.point, names)
    return [
        *(shown.get(key, '') for key in keys),
        metric_unit(sweep.metric).show_summary(result.metric),
        f'{result.count("complete")} of {result.planned}',
        str(result.count('failed') or ''),
        str(result.count('pruned') or ''),
        show_seconds(result.seconds.mean) if result.seconds else '',
    ]


def failures(
    results: list[PointResult],
) -> list[tuple[PointResult, TrialResult]]:
    """Failed trials with their points."""
    return [
        (result, trial)
        for result in results
        for trial in result.trials
        if trial.state == 'failed'
    ]


def summary_markdown(sweep: SweepResult, results: list[PointResult]) -> str:
    """Table of the points, and why trials failed."""
    keys = keys_of(result.point for result in results)
    best = best_mean(results)
    notes = [
        f'{cell(show_value(sweep.config))}: {show_counts(results)}. Mean ± '
        f'sample standard deviation of {cell(show_value(sweep.metric))} over '
        'finished seeds, the best mean in bold; mean time of a trial.'
    ]
    if any(key not in result.point for result in results for key in keys):
        notes.append('An empty cell is as in the config.')
    if sweep.prefix:
        notes.append(f'Before each key: {cell(show_value(sweep.prefix))}')
    lines = [
        f'# {cell(show_value(sweep.name))}',
        '',
        ' '.join(notes),
        '',
        table_row([cell(text) for text in table_head(sweep, keys)]),
        table_row([*['---'] * len(keys), *['---:'] * 5]),
    ]
    for result in results:
        cells = [cell(text) for text in table_cells(sweep, result, keys)]
        if is_best(result, best):
            cells[len(keys)] = f'**{cells[len(keys)]}**'
        lines.append(table_row(cells))
    failed = failures(results)
    if failed:
        lines += ['', '## Failures', '']
    for result, trial in failed:
        reason = ' / '.join(error_lines(trial.error)) or 'no message'
        lines.append(
            f'- Trial {trial.number} ({cell(result.label)}, seed '
            f'{trial.seed}): {cell(reason)}'
        )
    return '\n'.join([*lines, ''])

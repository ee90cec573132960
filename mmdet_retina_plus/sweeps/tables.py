"""A sweep as CSV, a row per trial, and as Markdown, a row per point."""

import ast
import math
import re
from typing import Any

import pandas as pd

from .point_labels import keys_of, short_keys, show_points, show_value
from .summary import Summary, SweepResult, error_lines
from .units import metric_unit, show_seconds

COLUMNS = ('trial', 'seed', 'state', 'metric', 'seconds', 'error', 'folder')
"""Columns of the CSV beside the keys of the points."""


def read_value(text: str) -> Any:
    """Read the value of a cell of the CSV: a Python literal or a string.

    Numbers, strings, None, booleans and their containers are restored. An
    empty cell has no value: None.
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
    """Write a value for `read_value`, with quotes only if necessary."""
    is_text = isinstance(value, str) and value.isprintable()
    return value if is_text and read_value(value) == value else repr(value)


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
    """One row per trial in order of their numbers, one column per key."""
    columns = key_columns(
        keys_of([*sweep.points, *(trial.point for trial in sweep.trials)])
    )
    rows = [
        {
            **{columns[key]: write_value(x) for key, x in trial.point.items()},
            'trial': trial.number,
            'seed': trial.seed,
            'state': trial.state,
            'metric': trial.value,
            'seconds': trial.seconds,
            'error': ' / '.join(error_lines(trial.error)),
            'folder': show_value(trial.folder),
        }
        for trial in sorted(sweep.trials, key=lambda trial: trial.number)
    ]
    names = [COLUMNS[0], *columns.values(), *COLUMNS[1:]]
    table = pd.DataFrame(rows, columns=names)
    return table.to_csv(index=False, lineterminator='\n')


def point_table(summary: Summary) -> tuple[list[str], pd.DataFrame]:
    """The keys of the points, and a table of texts, one row per point.

    Its columns are the keys, then metric, finished, failed, pruned and time.
    Cells without a value are empty.
    """
    points = summary.points
    keys = keys_of(points.point)
    unit = metric_unit(summary.sweep.metric)
    heads = [show_value(name) for name in short_keys(keys).values()]
    heads += [unit.label, 'finished', 'failed', 'pruned', 'time']
    shown = show_points(points.point)
    rows = [
        [
            *(shown[row.Index].get(key, '') for key in keys),
            unit.show_mean(row.mean, row.spread),
            f'{row.complete} of {row.planned}',
            str(row.failed or ''),
            str(row.pruned or ''),
            '' if math.isnan(row.time) else show_seconds(row.time),
        ]
        for row in points.itertuples()
    ]
    return keys, pd.DataFrame(rows, columns=heads, dtype=str)


def summary_markdown(summary: Summary) -> str:
    """Table of the points, and why trials failed."""
    sweep = summary.sweep
    keys, table = point_table(summary)
    notes = [
        f'{code(show_value(sweep.config_text))}: {summary.counts}. Mean ± '
        f'sample standard deviation of {code(show_value(sweep.metric))} over '
        'finished seeds, the best mean in bold; mean time of a trial.'
    ]
    if any(key not in point for point in summary.points.point for key in keys):
        notes.append('An empty cell is as in the config.')
    if sweep.prefix:
        notes.append(f'Before each key: {code(show_value(sweep.prefix))}')
    cells = table.map(cell)
    best = summary.points['mean'] == summary.best
    cells.iloc[best, len(keys)] = '**' + cells.iloc[best, len(keys)] + '**'
    lines = [
        f'# {code(show_value(sweep.name))}',
        '',
        ' '.join(notes),
        '',
        cells.to_markdown(
            index=False,
            headers=list(map(cell, table.columns)),
            colalign=['left'] * len(keys) + ['right'] * 5,
            disable_numparse=True,
        ),
    ]
    failed = failures(summary)
    if not failed.empty:
        lines += ['', '## Failures', '']
    for trial in failed.itertuples():
        lines.append(
            f'- Trial {trial.number} ({code(trial.label)}, seed '
            f'{trial.seed}): {code(" / ".join(trial.lines))}'
        )
    return '\n'.join([*lines, ''])


def failures(summary: Summary) -> pd.DataFrame:
    """Failed trials, with labels of their points and `lines` of errors."""
    trials = summary.trials.join(summary.points.label, on='row')
    failed = trials[trials.state == 'failed']
    lines = [error_lines(error) or ['no message'] for error in failed.error]
    return failed.assign(lines=lines)


def code(text: str) -> str:
    """Text for Markdown, as code unless every character is harmless."""
    if re.fullmatch(r'[\w ().,:+=/%±-]*', text) and '__' not in text:
        return text
    fence = '`' * (max(map(len, re.findall('`+', text)), default=0) + 1)
    space = ' ' if text.startswith('`') or text.endswith('`') else ''
    return f'{fence}{space}{text}{space}{fence}'


def cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return code(text).replace('|', r'\|')

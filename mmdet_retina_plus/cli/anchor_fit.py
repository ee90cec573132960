"""`retina-plus anchor-fit`: do the anchors of a config fit its objects?"""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from mmdet_retina_plus.analysis.anchor_report import (
    as_json,
    fit_report,
    write,
)
from mmdet_retina_plus.common.output_files import check_out
from mmdet_retina_plus.common.text import quantity

from .errors import errors_as_messages
from .options import (
    InputFile,
    ManyValues,
    cfg_options_option,
    out_option,
)
from .progress import progress_bar

COLUMNS = {
    'mean IoU': ('mean_iou', '.2f'),
    'below .4': ('below_04', '.1%'),
    'below .5': ('below_05', '.1%'),
}
"""Key and format of the columns that compare anchors."""


@click.command(cls=ManyValues)
@click.argument('config', type=InputFile())
@out_option('Also write the numbers there, as JSON.')
@click.option(
    '--json', 'print_json', is_flag=True, help='Print one JSON object instead.'
)
@cfg_options_option
def main(
    config: str,
    out: Path | None,
    print_json: bool,
    cfg_options: tuple[str, ...],
) -> None:
    """Compare the anchors of CONFIG with the objects of its training data.

    Each object is compared with its best anchor, in the size that the
    training pipeline gives it. A random size counts as its middle one, and
    crops are ignored. Then better octave base scales, ratios and levels are
    searched; doubling the anchors must gain 5 % of the objects.

    Nothing is trained, and no image is read.
    """
    # A config is a program and may print.
    with errors_as_messages(), redirect_stdout(sys.stderr):
        if out:
            check_out(out, [config])
        report = fit_report(config, cfg_options, progress_bar('candidates'))
        if out:
            write(report, out, config)
    if print_json:
        click.echo(as_json(report))
        return
    show(report)


def show(report: dict[str, Any]) -> None:
    """Print the tables and the settings to paste."""
    from rich.console import Console
    from rich.table import Table

    suggestion = report['suggestion']
    fits = [report['fit'], *([suggestion['fit']] if suggestion else [])]
    count = quantity(report['objects'], 'object')
    if report['of'] > report['objects']:
        count += f' of {report["of"]:,}'
    table = Table(title=f'Best anchor of {count}')
    table.add_column('objects', no_wrap=True)
    table.add_column('number', justify='right', no_wrap=True)
    for mark in ('', '*')[: len(fits)]:
        for name in COLUMNS:
            table.add_column(f'{name}{mark}', justify='right')
    every = [
        {'all': fit['all'], **fit['by_size'], **fit['by_ratio']}
        for fit in fits
    ]
    for name, item in every[0].items():
        table.add_row(
            name,
            f'{item["objects"]:,}',
            *(cell for groups in every for cell in cells(groups[name])),
            end_section=name in ('all', 'large'),
        )
    Console().print(table)
    if not report['searched']:
        click.echo(
            'Only an AnchorGenerator with octave_base_scale, or one of '
            'scales, is searched.'
        )
    elif suggestion is None:
        click.echo('No scale, ratio or level would fit noticeably better.')
    else:
        before, after = (cells(groups['all']) for groups in every)
        gains = [
            f'{name} {new}, not {old}'
            for name, old, new in zip(COLUMNS, before, after, strict=True)
        ]
        click.echo(
            f'* with what follows: {"; ".join(gains)}; '
            f'anchors per image x {suggestion["anchors"]:.2f}\n\n'
            f'{suggestion["paste"]}'
        )


def cells(item: dict) -> list[str]:
    """One text per column, dashes for a group without objects."""
    return [
        '-' if item[key] is None else f'{item[key]:{form}}'
        for key, form in COLUMNS.values()
    ]

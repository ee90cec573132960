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

    fit, suggestion = report['fit'], report['suggestion']
    better = suggestion['fit'] if suggestion else None
    count = quantity(report['objects'], 'object')
    if report['of'] > report['objects']:
        count += f' of {report["of"]:,}'
    table = Table(title=f'Best anchor of {count}')
    table.add_column('objects')
    for name in ('number', 'mean IoU', 'below .4', 'below .5'):
        table.add_column(name, justify='right')
    if better:
        table.add_column('mean IoU*', justify='right')
        table.add_column('below .5*', justify='right')
    add_row(table, 'all', fit['all'], better and better['all'])
    for part in ('by_size', 'by_ratio'):
        table.add_section()
        for name, item in fit[part].items():
            add_row(table, name, item, better and better[part][name])
    Console().print(table)
    if not report['searched']:
        click.echo('The generator has a list of sizes, which is not searched.')
    elif suggestion is None:
        click.echo('No scale, ratio or level would fit noticeably better.')
    else:
        before, after = fit['all'], suggestion['fit']['all']
        click.echo(
            '* with what follows: '
            f'mean IoU {after["mean_iou"]:.2f}, not {before["mean_iou"]:.2f}; '
            f'below .5 {after["below_05"]:.1%}, not {before["below_05"]:.1%}; '
            f'anchors per image x {suggestion["anchors"]:.2f}\n\n'
            f'{suggestion["paste"]}'
        )


def add_row(table: Any, name: str, item: dict, better: dict | None) -> None:
    cells = [shown(item, 'mean_iou', '.2f')]
    cells += [shown(item, key, '.1%') for key in ('below_04', 'below_05')]
    if better is not None:
        cells += [
            shown(better, 'mean_iou', '.2f'),
            shown(better, 'below_05', '.1%'),
        ]
    table.add_row(name, f'{item["objects"]:,}', *cells)


def shown(item: dict, key: str, form: str) -> str:
    return '-' if item[key] is None else f'{item[key]:{form}}'

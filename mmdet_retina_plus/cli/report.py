"""`retina-plus report`: the results of a run as a table and two pictures."""

from pathlib import Path

import click

from mmdet_retina_plus.analysis.training_report import (
    draw_pictures,
    metric_table,
    read_scalars,
)


@click.command()
@click.argument(
    'work_dir', type=click.Path(exists=True, file_okay=False, path_type=Path)
)
def main(work_dir: Path) -> None:
    """Print the last AP of the run in WORK_DIR and draw its losses.

    Writes loss_curve.png and, if `mim test --show-dir predictions` wrote
    pictures below WORK_DIR, contact_sheet.png.
    """
    from rich.console import Console

    try:
        records = read_scalars(work_dir)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    console = Console()
    console.print(metric_table(records))
    for picture in draw_pictures(records, work_dir):
        console.print(f'{picture.resolve()}', soft_wrap=True)

"""`retina-plus assignments`: which priors train as positives."""

import sys
from pathlib import Path

import click

from mmdet_retina_plus.analysis.assignments.compare import (
    FILES,
    compare,
    prepare,
    write,
)

from .errors import errors_as_messages
from .options import (
    InputFile,
    ManyValues,
    cfg_options_option,
    device_option,
)
from .progress import progress_bar


@click.command(cls=ManyValues)
@click.argument(
    'configs',
    metavar='CONFIG...',
    nargs=-1,
    required=True,
    type=InputFile(),
)
@click.option(
    '--images',
    'most',
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help='Number of images, spread over those with objects.',
)
@click.option(
    '--out',
    type=click.Path(path_type=Path),
    default='assignments',
    show_default=True,
    help='Folder for the page, the sheet and the numbers.',
)
@click.option(
    '--checkpoint',
    'checkpoints',
    multiple=True,
    metavar='FILE',
    help='Weights of each CONFIG, in their order; - for none.',
)
@click.option(
    '--data',
    type=InputFile(),
    help='Config whose images to use.  [default: the first CONFIG]',
)
@click.option(
    '--split',
    type=click.Choice(['train', 'val']),
    default='train',
    show_default=True,
    help='Dataloader whose images and pipeline to use.',
)
@device_option
@cfg_options_option
def main(
    configs: tuple[str, ...],
    most: int,
    out: Path,
    checkpoints: tuple[str, ...],
    data: str | None,
    split: str,
    device: str | None,
    cfg_options: tuple[str, ...],
) -> None:
    """Show which anchors or points each CONFIG trains as positives.

    No training is needed: each head computes its loss on the images, and its
    positive, ignored and negative priors are drawn and counted. Without
    --checkpoint the models are newly initialised, without pretrained weights.

    Writes index.html, sheet.png and assignments.json. An image that fails is
    skipped and named; the exit code is then 1.
    """
    with errors_as_messages():
        subject = prepare(
            configs, cfg_options, checkpoints, data, split, most, out, device
        )
        found = compare(subject, progress_bar('assignments'))
        numbers = write(subject, found, out)
    show(numbers)
    for name in FILES:
        click.echo(f'{out / name}')
    for line in found.failures:
        click.echo(f'Left out: {line}', err=True)
    sys.exit(bool(found.failures))


def show(numbers: dict[str, dict]) -> None:
    """Print positives per object by size."""
    from rich.console import Console
    from rich.table import Table

    from mmdet_retina_plus.analysis.assignments.drawing import wrapped

    console = Console()
    table = Table(title='Positives per object')
    table.add_column('strategy', no_wrap=True)
    first = next(iter(numbers.values()))
    for name, group in first['by_size'].items():
        table.add_column(f'{name} ({group["objects"]})', justify='right')
    table.add_column('without any', justify='right', min_width=7)
    for name, item in numbers.items():
        means = [
            group['positives_per_object'] for group in item['by_size'].values()
        ]
        cells = ['-' if x is None else f'{x:.1f}' for x in means]
        without = item['by_size']['all']['without']
        # The other columns take up to 50.
        name = wrapped(name, max(console.width - 50, 12))
        table.add_row(name, *cells, f'{without}')
    console.print(table)

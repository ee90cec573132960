"""`retina-plus loss-cdf`: which anchors a model's loss comes from."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmdet_retina_plus.analysis.loss_cdf import (
    HARDEST,
    HARDEST_POSITIVES,
    NAME,
    PARTIAL,
    counts,
    measure,
    prepare,
    shares,
    write,
)
from mmdet_retina_plus.common.numbers import show_number
from mmdet_retina_plus.common.text import quantity

from .errors import errors_as_messages
from .options import (
    InputFile,
    ManyValues,
    ascending,
    cfg_options_option,
    device_option,
    gammas_option,
)
from .progress import progress_bar

if TYPE_CHECKING:
    from mmdet_retina_plus.analysis.loss_distribution import LossSpread


@click.command(cls=ManyValues)
@click.argument('config', type=InputFile())
@click.argument('checkpoint')
@gammas_option
@click.option(
    '--split',
    type=click.Choice(['val', 'train']),
    default='val',
    show_default=True,
    help='Dataloader whose images to use.',
)
@click.option(
    '--max-images',
    type=click.IntRange(min=1),
    help='Use only the first images.  [default: all]',
)
@click.option(
    '--out',
    type=click.Path(path_type=Path),
    default='loss_cdf',
    show_default=True,
    help='Folder for the picture, the curves and the table.',
)
@device_option
@cfg_options_option
def main(
    config: str,
    checkpoint: str,
    gammas: tuple[tuple[float, ...], ...],
    split: str,
    max_images: int | None,
    out: Path,
    device: str | None,
    cfg_options: tuple[str, ...],
) -> None:
    """Draw the distribution of the classification loss over anchors.

    Figure 4 of the focal loss paper, for the model and the data of CONFIG:
    losses of positive and of negative anchors, sorted from low to high,
    accumulated and normalised, for several gammas. Works with any one-stage
    detector whose head calls its loss like RetinaNet's.

    Writes loss_cdf.png, loss_cdf.csv with the curves and loss_cdf.json with
    the table. If an image fails, or at Ctrl-C, the results of the images
    before are named loss_cdf.partial.*; the exit code is 1, or 130.
    """
    wanted = ascending(gammas)
    with errors_as_messages():
        subject = prepare(
            config, cfg_options, checkpoint, split, wanted, out, device
        )
    total = min(len(subject.dataset), max_images or len(subject.dataset))
    spread, done, failure = measure(
        subject, total, wanted, progress_bar('images')
    )
    if done:
        show(spread, done)
        try:
            name = NAME if done == total else PARTIAL
            for file in write(spread, done, split, out, name):
                click.echo(f'{file}')
        except OSError as error:
            if not failure:
                raise click.ClickException(str(error)) from error
            click.echo(f'Error: {error}', err=True)
    if isinstance(failure, KeyboardInterrupt):
        click.echo(f'Interrupted, {done} of {total} images are done', err=True)
        sys.exit(130)
    if failure:
        raise click.ClickException(
            f'{failure}; {done} of {total} images were done before'
        )


def show(spread: 'LossSpread', images: int) -> None:
    """Print the table, in percent."""
    from rich.console import Console
    from rich.table import Table

    positives, negatives = counts(spread)
    table = Table(
        title='Fraction of the loss of the hardest anchors, in %\n'
        f'{quantity(images, "image")}, {quantity(positives, "positive")}, '
        f'{quantity(negatives, "negative")}'
    )
    table.add_column('gamma', justify='right')
    for fraction in HARDEST:
        table.add_column(f'{100 * fraction:g} % neg.', justify='right')
    table.add_column(f'{100 * HARDEST_POSITIVES:g} % pos.', justify='right')
    for gamma, histogram in spread.negatives.items():
        row = shares(histogram, HARDEST)
        row += shares(spread.positives[gamma], (HARDEST_POSITIVES,))
        cells = ('-' if x is None else f'{100 * x:.1f}' for x in row)
        table.add_row(show_number(gamma), *cells)
    Console().print(table)
    for name, count in (('positives', positives), ('negatives', negatives)):
        if not count:
            click.echo(f'There are no {name}: their curves are empty')

"""`retina-plus loss-cdf`: which anchors a model's loss comes from."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .many_values import ManyValues, cfg_options_option
from .number_list import ascending, gammas_option, show_number
from .output import replace
from .predict_checks import check_kinds, read_config

if TYPE_CHECKING:
    from .loss_distribution import LogHistogram, LossSpread

HARDEST = (0.001, 0.01, 0.1)
"""Fractions of the negatives whose share is told."""
HARDEST_POSITIVES = 0.2
"""The paper: these carry about half of the positives' loss."""
NAME, PARTIAL = 'loss_cdf', 'loss_cdf.partial'
ENDINGS = ('.json', '.csv', '.png')
"""In the order of writing: a picture is drawn when its data is safe."""


@click.command(cls=ManyValues)
@click.argument('config', type=click.Path(exists=True, dir_okay=False))
@click.argument('checkpoint')
@gammas_option
@click.option(
    '--split',
    type=click.Choice(['val', 'train']),
    default='val',
    show_default=True,
    help="Whose dataloader's images to take.",
)
@click.option(
    '--max-images',
    type=click.IntRange(min=1),
    help='Take only the first ones.  [default: all]',
)
@click.option(
    '--out',
    type=click.Path(path_type=Path),
    default='loss_cdf',
    show_default=True,
    help='Folder for the picture, the curves and the table.',
)
@click.option('--device', help='[default: cuda:0 if there is one, else cpu]')
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
    """Draw how a model's classification loss spreads over its anchors.

    Figure 4 of the focal loss paper, on the model and the data of CONFIG:
    losses of positive and of negative anchors, sorted from low to high,
    accumulated and normalised, as if they were scored with several gammas.
    Any one-stage detector will do whose head calls its loss as RetinaNet's.

    Writes loss_cdf.png, loss_cdf.csv with the curves and loss_cdf.json with
    the table. Where an image fails, or at Ctrl-C, these are of the images
    until then, and named loss_cdf.partial.*; the exit code is 1, or 130.
    """
    try:
        wanted = ascending(gammas)
        check_kinds(config, (checkpoint,))
        check_folder(out)
        cfg = read_config(config, cfg_options)
        # Not before: where mmdet is broken, read_config says so better.
        from .detector import load_detectors
        from .loss_capture import classifier
        from .loss_curves import build_losses
        from .loss_data import build_dataset

        build_losses(wanted, (), None)  # It refuses what is no gamma.
        dataset = build_dataset(cfg, split)
        (model,) = load_detectors(cfg, [checkpoint], device)
        classifier(model)  # It refuses heads whose loss is another.
    except (ValueError, ImportError, OSError) as error:
        raise click.ClickException(str(error)) from error
    total = min(len(dataset), max_images or len(dataset))
    spread, done, failure = measure(
        model, dataset, total, wanted, seed_of(cfg)
    )
    if done:
        show(spread, done)
        try:
            write(spread, done, split, out, NAME if done == total else PARTIAL)
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


def check_folder(out: Path) -> None:
    """Refuse a folder that results cannot go to, without making it.

    Raises:
        ValueError: It cannot be made, or not be written into.
    """
    there = next(path for path in (out, *out.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ValueError(f'Cannot make the folder {out}: {there} is a file')
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f'The folder {there} cannot be written into')
    for name in (NAME, PARTIAL):
        for file in files_of(out, name):
            if file.is_dir():
                raise ValueError(
                    f'{file} is a folder: move it, or name another --out'
                )


def files_of(out: Path, name: str) -> list[Path]:
    return [out / f'{name}{ending}' for ending in ENDINGS]


def seed_of(cfg: Any) -> int:
    return (cfg.get('randomness') or {}).get('seed') or 0


def measure(
    model: Any, dataset: Any, total: int, gammas: list[float], seed: int
) -> tuple['LossSpread', int, BaseException | None]:
    """Count the losses of the first images, one at a time.

    Args:
        model: The detector, in evaluation mode.
        dataset: Its data.
        total: Number of images to take.
        gammas: Of the losses.
        seed: Of all generators, for pipelines with chance.

    Returns:
        The losses, how many images they are of, all of them whole, and what
        stopped it, if anything did.
    """
    from mmengine.dataset import pseudo_collate
    from mmengine.runner import set_random_seed
    from rich.console import Console
    from rich.progress import track
    from torch import no_grad

    from .loss_capture import classifier, seen_by_loss
    from .loss_distribution import LossSpread

    set_random_seed(seed)
    console = Console(stderr=True)
    spread, done, name = LossSpread(gammas), 0, 'the first image'
    try:
        _, use_sigmoid = classifier(model)
        for number in track(range(total), 'images', console=console):
            name = f'image {number + 1} of {total}'
            name = dataset.get_data_info(number).get('img_path', name)
            item = dataset[number]
            with no_grad():
                batch = model.data_preprocessor(pseudo_collate([item]))
                calls = seen_by_loss(
                    model, batch['inputs'], batch['data_samples']
                )
            image = LossSpread(gammas)
            for logits, labels in calls:
                image.add(logits, labels, use_sigmoid)
            # In one step: whatever stops it, no image is counted by half.
            spread, done = spread + image, done + 1
    except KeyboardInterrupt as error:
        return spread, done, error
    except Exception as error:  # Of files, pipelines and heads.
        known = isinstance(error, ValueError | OSError)
        message = f'{error}' if known else f'{error!r}'
        return spread, done, ValueError(f'{name}: {message}')
    return spread, done, None


def shares(histogram: 'LogHistogram', fractions: tuple[float, ...]) -> list:
    """Shares of the loss that the hardest carry, None where there are none."""
    if not histogram.count:
        return [None] * len(fractions)
    return [histogram.hardest(fraction) for fraction in fractions]


def show(spread: 'LossSpread', images: int) -> None:
    """Print the table, in percent."""
    from rich.console import Console
    from rich.table import Table

    positives, negatives = counts(spread)
    table = Table(
        title='Share of the loss that the hardest carry, in %\n'
        f'{counted(images, "image")}, {counted(positives, "positive")}, '
        f'{counted(negatives, "negative")}'
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
            click.echo(f'There are no {name}: nothing to draw for them')


def counts(spread: 'LossSpread') -> tuple[int, int]:
    """Numbers of positive and negative anchors."""
    return (
        next(iter(spread.positives.values())).count,
        next(iter(spread.negatives.values())).count,
    )


def counted(number: int, noun: str) -> str:
    return f'{number:,} {noun}' if number == 1 else f'{number:,} {noun}s'


def write(
    spread: 'LossSpread', images: int, split: str, out: Path, name: str
) -> None:
    """Write the table, the curves and the picture, and tell where.

    Args:
        spread: The losses.
        images: Their number.
        split: That they are of.
        out: Folder, made where there is none.
        name: Of the files; `NAME` takes the place of `PARTIAL`.

    Raises:
        OSError: A file cannot be written.
    """
    from .loss_pictures import draw_cumulative

    positives, negatives = counts(spread)
    groups = dict(positives=spread.positives, negatives=spread.negatives)
    out.mkdir(parents=True, exist_ok=True)
    data, curves, picture = files = files_of(out, name)
    replace(data, json.dumps(table_of(spread, images, split), indent=2))
    replace(curves, curves_as_csv(groups))
    title = (
        f'{counted(images, f"{split} image")}: '
        f'{counted(positives, "positive")}, {counted(negatives, "negative")}'
    )
    lines = [labelled_curves(group) for group in groups.values()]
    replace(picture, draw_cumulative(lines[0], lines[1], title))
    if name == NAME:
        for file in files_of(out, PARTIAL):
            file.unlink(missing_ok=True)
    for file in files:
        click.echo(f'{file}')


def table_of(spread: 'LossSpread', images: int, split: str) -> dict:
    """What the table says, and of what it is."""
    positives, negatives = counts(spread)
    groups = (
        ('positives', spread.positives, (HARDEST_POSITIVES,)),
        ('negatives', spread.negatives, HARDEST),
    )
    hardest = {
        name: [
            dict(gamma=gamma, fraction=fraction, share=share)
            for gamma, histogram in group.items()
            for fraction, share in zip(
                fractions, shares(histogram, fractions), strict=True
            )
        ]
        for name, group, fractions in groups
    }
    return dict(
        images=images,
        split=split,
        positives=positives,
        negatives=negatives,
        hardest=hardest,
    )


def labelled_curves(group: dict[float, 'LogHistogram']) -> dict[str, Any]:
    return {
        rf'$\gamma$ = {show_number(gamma)}': histogram.curve()
        for gamma, histogram in group.items()
        if histogram.count
    }


def curves_as_csv(groups: dict[str, dict[float, 'LogHistogram']]) -> str:
    """Curves at fractions that crowd at the hard end, as the loss does."""
    import numpy as np

    fractions = np.union1d(np.linspace(0, 1, 101), 1 - np.logspace(-2, -6, 41))
    lines = ['group,gamma,fraction,cumulative_loss']
    for name, group in groups.items():
        for gamma, histogram in group.items():
            if histogram.count:
                curve = histogram.cumulative(fractions)
                lines += [
                    f'{name},{show_number(gamma)},{x:.7f},{y:.7g}'
                    for x, y in zip(fractions, curve, strict=True)
                ]
    return '\n'.join(lines) + '\n'

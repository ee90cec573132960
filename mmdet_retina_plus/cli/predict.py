"""`retina-plus predict`: detect objects in images of any size."""

import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mmdet_retina_plus.common.text import clause, quantity, some
from mmdet_retina_plus.inference.detect_images import (
    Outcome,
    UnwrittenError,
    detect_images,
    images_to_see,
)
from mmdet_retina_plus.inference.fusion_options import PRESET_WEIGHTS
from mmdet_retina_plus.inference.shards import (
    Shard,
    missing_parts,
    run_jobs,
)

from .errors import errors_as_messages
from .options import (
    FiniteRange,
    InputFile,
    ManyValues,
    cfg_options_option,
    device_option,
    iou_thr_option,
    is_pair,
    out_option,
)

VIEWS = ('tile', 'flip', 'ensemble')
WORDS = f'{__name__}.words'
"""Key of the command line in click's `meta`."""
NEEDS = {
    'overlap': ('tile',),
    'batch_size': ('tile',),
    'fuse': VIEWS,
    'preset': VIEWS,
    'iou_thr': VIEWS,
    'show_score_thr': ('show_dir',),
}
"""Options that do nothing without one of the others."""


class ManyWords(ManyValues):
    takes = {'--cfg-options': is_pair, '--ensemble': bool}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[WORDS] = list(args)
        return super().parse_args(ctx, args)


class ShardType(click.ParamType):
    """Number of a part and number of parts: 3/16."""

    name = 'I/N'

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Shard:
        number, _, count = value.partition('/')
        if number.isdecimal() and count.isdecimal():
            shard = Shard(int(number), int(count))
            if 1 <= shard.number <= shard.total:
                return shard
        self.fail(f'{value!r} is not a part such as 1/4 or 4/4', param, ctx)


@click.command(cls=ManyWords)
@click.argument('images')
@click.argument('config', type=InputFile())
@click.argument('checkpoint')
@out_option(
    'COCO result file to write; an existing one is replaced at the end.',
    required=True,
)
@click.option(
    '--ann-file',
    type=InputFile(Path),
    help='COCO file that lists the images below the folder IMAGES. Results '
    'use its ids. Categories are matched by name, and images must have the '
    'size that the file states.',
)
@click.option(
    '--tile',
    type=click.IntRange(min=1),
    help='Side of a tile in pixels of the image.  [default: whole images]',
)
@click.option(
    '--overlap',
    type=FiniteRange(0, 1, max_open=True),
    default=0.25,
    show_default=True,
    help='Overlap of neighbouring tiles, as a fraction of their side.',
)
@click.option(
    '--flip',
    is_flag=True,
    help='Also run each tile, or the whole image, mirrored left to right.',
)
@click.option(
    '--ensemble',
    multiple=True,
    metavar='CKPT ...',
    help='More checkpoints of CONFIG.',
)
@click.option(
    '--fuse',
    type=click.Choice(['wbc', 'nms']),
    default='wbc',
    show_default=True,
    help='How to merge tiles, mirrored views and checkpoints.',
)
@click.option(
    '--preset',
    type=click.Choice(list(PRESET_WEIGHTS)),
    help='Preset of weighted box clustering.  [default: paper]',
)
@iou_thr_option(
    'IoU threshold of the fusion.  [default: .5 with nms, the preset with wbc]'
)
@click.option(
    '--score-thr',
    type=FiniteRange(0, 1),
    default=0.0,
    show_default=True,
    help='Minimum score after the fusion.',
)
@click.option(
    '--batch-size',
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help='Tiles per batch.',
)
@device_option
@click.option(
    '--show-dir',
    type=click.Path(file_okay=False, path_type=Path),
    help='Folder for pictures of boxes, masks and maps.',
)
@click.option(
    '--maps',
    type=click.Path(file_okay=False, path_type=Path),
    help='Folder for semantic maps as PNG, from a model with a semantic head: '
    '0 is background, other values are label + 1, or 1 for any object.',
)
@click.option(
    '--show-score-thr',
    type=FiniteRange(0, 1),
    default=0.3,
    show_default=True,
    help='Minimum score of a box in a picture.',
)
@click.option(
    '--shard',
    type=ShardType(),
    metavar='I/N',
    help='Process every N-th image, starting at the I-th, as one job of an '
    'array with the same --out. The job that finishes last joins all results.',
)
@click.option(
    '--jobs',
    type=click.IntRange(min=1),
    help='Number of processes, on all GPUs or the CPU.',
)
@cfg_options_option
def main(
    images: str,
    config: str,
    checkpoint: str,
    out: Path,
    jobs: int | None,
    **options,
) -> None:
    """Detect objects in IMAGES and write the boxes to a COCO result file.

    IMAGES is a file, a folder, or a pattern in quotes. Without --ann-file,
    images are numbered from 1 by name, classes by label; a COCO file next to
    the results, *.images.json, lists both. With --tile, --flip or --ensemble,
    the results of all views are fused. A single view keeps its results.

    Images and pictures that fail are named at the end; all others are written,
    and the exit code is 1. Ctrl-C writes what is done, to *.partial.json if
    --out exists or this is a part; the exit code is 130.
    """
    context = click.get_current_context()
    if jobs and jobs > 1:
        if options['shard']:
            raise click.UsageError(
                '--jobs makes its own parts: use either --shard or --jobs'
            )
        with errors_as_messages():
            images_to_see(
                images,
                config,
                (checkpoint, *options['ensemble']),
                out,
                options['ann_file'],
                options['show_dir'],
                options['maps'],
                Shard(1, jobs),
            )
        sys.exit(run_parts(context, out, jobs, options['device']))
    for line in idle_options(context):
        click.echo(f'Note: {line}', err=True)
    with errors_as_messages(doctor=True):
        try:
            outcome = detect_images(images, config, checkpoint, out, **options)
        except UnwrittenError as error:
            click.echo(f'Error: {error}', err=True)
            conclude(error.outcome)
            sys.exit(1)
    conclude(outcome)


def run_parts(
    context: click.Context, out: Path, jobs: int, device: str | None
) -> int:
    """Run one process per part; return the exit code."""
    words = context.meta[WORDS]
    place = next(
        i for i, word in enumerate(words) if word.startswith('--jobs')
    )
    del words[place : place + (1 if '=' in words[place] else 2)]
    devices = 0
    if device is None:
        with errors_as_messages(doctor=True):
            from torch import cuda

            devices = cuda.device_count()
    with errors_as_messages():
        code = run_jobs(['predict', *words], out, jobs, devices)
    for part in missing_parts(out, jobs):
        click.echo(
            'Not joined: repeat the command with --shard '
            f'{part.number}/{part.total} instead of --jobs',
            err=True,
        )
    return code


def idle_options(ctx: click.Context) -> list[str]:
    """Describe each given option that does nothing."""
    lines = []
    for name, others in NEEDS.items():
        given = ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
        if given and not any(ctx.params[other] for other in others):
            option, *needed = (
                '--' + word.replace('_', '-') for word in (name, *others)
            )
            lines.append(
                f'{option} does nothing without {" or ".join(needed)}'
            )
    return lines


def conclude(outcome: Outcome) -> None:
    """Print the files and errors, and exit with a code if there are any."""
    results, total, interrupted, files, num_boxes, unjoined = outcome
    if files:
        click.echo(f'{quantity(num_boxes, "box")} written to {files[0]}')
    for file in files[1:]:
        click.echo(f'Their images and categories are in {file}')
    for line in results.notes:
        click.echo(f'Note: {line}', err=True)
    if results.missing:
        click.echo(
            f'{clause(len(results.missing), "image", "are")} missing: '
            f'{some(results.missing)}',
            err=True,
        )
    for line in (*results.failures, *results.undrawn):
        click.echo(line, err=True)
    said = []
    if unjoined:
        click.echo(f'Not joined: {unjoined}', err=True)
        said.append('The parts are not joined')
    if results.num_failed:
        said.append(f'{results.num_failed} of {total} images failed')
    if results.undrawn:
        said.append(
            f'{len(results.undrawn)} of {total} have no picture or map'
        )
    if interrupted:
        done = f'Interrupted, {len(results.images)} of {total} images done'
        click.echo('; '.join([done, *said]), err=True)
        sys.exit(130)
    if said:
        raise click.ClickException(f'{", ".join(said)}, see above')

"""`retina-plus predict`: detections in images of any size, as COCO results."""

import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mmdet_retina_plus.common.text import clause, some
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
"""Key of the command line, as it was given."""
NEEDS = {
    'overlap': ('tile',),
    'batch_size': ('tile',),
    'fuse': VIEWS,
    'preset': VIEWS,
    'iou_thr': VIEWS,
    'show_score_thr': ('show_dir',),
}
"""Options that do nothing without one of others."""


class ManyWords(ManyValues):
    takes = {'--cfg-options': is_pair, '--ensemble': bool}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[WORDS] = list(args)
        return super().parse_args(ctx, args)


class ShardType(click.ParamType):
    """Number of a part and of all parts: 3/16."""

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
        self.fail(f'{value!r} is no part such as 1/4 to 4/4', param, ctx)


@click.command(cls=ManyWords)
@click.argument('images')
@click.argument('config', type=InputFile())
@click.argument('checkpoint')
@out_option(
    'COCO result file to write; one that is there is replaced once all is '
    'done.',
    required=True,
)
@click.option(
    '--ann-file',
    type=InputFile(Path),
    help='COCO file whose images to take, below the folder IMAGES, with its '
    'ids of images and categories. Categories are matched by name, and images '
    'have to be of the size that the file gives them.',
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
    help='See each tile, or the whole image, mirrored left to right, too.',
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
    help='How tiles, mirrored views and checkpoints become one.',
)
@click.option(
    '--preset',
    type=click.Choice(list(PRESET_WEIGHTS)),
    help='Whose weighted box clustering.  [default: paper]',
)
@iou_thr_option(
    'IoU threshold of the fusion.  [default: .5 with nms, with wbc that of '
    'the preset]'
)
@click.option(
    '--score-thr',
    type=FiniteRange(0, 1),
    default=0.0,
    show_default=True,
    help='Least score after the fusion.',
)
@click.option(
    '--batch-size',
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help='Tiles at a time.',
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
    help='Folder for semantic maps as PNG, of a model with a semantic head: 0 '
    'is background, others are label + 1, or 1 for any object.',
)
@click.option(
    '--show-score-thr',
    type=FiniteRange(0, 1),
    default=0.3,
    show_default=True,
    help='Least score of a box in a picture.',
)
@click.option(
    '--shard',
    type=ShardType(),
    metavar='I/N',
    help='Detect in every N-th image, from the I-th on; for an array of jobs '
    'with the same --out. The last one that is done joins all results.',
)
@click.option(
    '--jobs',
    type=click.IntRange(min=1),
    help='Processes to detect in, on all GPUs or the CPU.',
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
    """Detect in IMAGES and write the boxes to a COCO result file.

    IMAGES is a file, a folder, or a pattern in quotes. Without --ann-file they
    are numbered by name from 1, and so are the classes; a COCO file beside the
    results, *.images.json, says which is which. With --tile, --flip or
    --ensemble, views are fused; an image that is seen once keeps what was
    found.

    Images that fail, and pictures, are named at the end, all others are
    written; then the exit code is 1. Ctrl-C ends the work and writes what is
    done, to *.partial.json where --out exists, or of a part; then it is 130.
    """
    context = click.get_current_context()
    if jobs and jobs > 1:
        if options['shard']:
            raise click.UsageError(
                '--jobs makes parts of its own: give --shard or --jobs'
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
    """Exit code of the processes that detect in a part each."""
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
            f'{part.number}/{part.total} in place of --jobs',
            err=True,
        )
    return code


def idle_options(ctx: click.Context) -> list[str]:
    """A line for each option given that does nothing."""
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
    """Name the files and what went wrong, and exit if anything did."""
    results, total, interrupted, files, num_boxes, unjoined = outcome
    if files:
        click.echo(f'{num_boxes:,} boxes written to {files[0]}')
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
        done = f'Interrupted, {len(results.images)} of {total} images are done'
        click.echo('; '.join([done, *said]), err=True)
        sys.exit(130)
    if said:
        raise click.ClickException(f'{", ".join(said)}, see above')

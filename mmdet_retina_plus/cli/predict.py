"""`retina-plus predict`: detections in images of any size, as COCO results."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mmdet_retina_plus.common.config_file import read_config
from mmdet_retina_plus.common.output_files import replace
from mmdet_retina_plus.inference.checks import check_files, check_pictures
from mmdet_retina_plus.inference.image_list import (
    category_ids,
    find_images,
    images_of,
    read_coco,
)
from mmdet_retina_plus.inference.prediction import (
    Results,
    numbered,
    picture_maker,
    predict,
)

from .options import (
    PATCH_WEIGHTS,
    FiniteRange,
    ManyValues,
    cfg_options_option,
    fusion_options,
    is_pair,
)


class ManyWords(ManyValues):
    takes = {'--cfg-options': is_pair, '--ensemble': bool}


@click.command(cls=ManyWords)
@click.argument('images')
@click.argument('config', type=click.Path(exists=True, dir_okay=False))
@click.argument('checkpoint')
@click.option(
    '--out',
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help='COCO result file to write.',
)
@click.option(
    '--ann-file',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='COCO file whose images to take, below the folder IMAGES, with its '
    'ids of images and categories.',
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
    help='Of neighbouring tiles.',
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
    type=click.Choice(list(PATCH_WEIGHTS)),
    help='Whose weighted box clustering.  [default: paper]',
)
@click.option(
    '--iou-thr',
    type=FiniteRange(0, 1),
    help="Of the fusion.  [default: .5 with nms, the preset's with wbc]",
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
@click.option('--device', help='[default: cuda:0 if there is one, else cpu]')
@click.option(
    '--show-dir',
    type=click.Path(file_okay=False, path_type=Path),
    help='Folder for pictures of the boxes.',
)
@click.option(
    '--show-score-thr',
    type=FiniteRange(0, 1),
    default=0.3,
    show_default=True,
    help='Least score of a box in a picture.',
)
@cfg_options_option
def main(
    images: str,
    ann_file: Path | None,
    out: Path,
    show_dir: Path | None,
    show_score_thr: float,
    score_thr: float,
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
    done, to *.partial.json where --out exists; then it is 130.
    """
    for line in idle_options(click.get_current_context()):
        click.echo(f'Note: {line}', err=True)
    beside = None if ann_file else out.with_suffix('.images.json')
    try:
        coco = read_coco(ann_file) if ann_file else {}
        listed = images_of(coco, Path(images)) if coco else find_images(images)
        check_files(out, beside, ann_file, listed, **options)
        if show_dir is not None:
            check_pictures(show_dir, listed)
        detector = build(**options)
        classes = detector.meta['classes']
        coco.setdefault('categories', numbered(classes))
        results = Results(category_ids(coco, classes))
    except (ValueError, ImportError, OSError) as error:
        raise click.ClickException(str(error)) from error
    draw = picture_maker(show_dir, detector.meta, show_score_thr)
    interrupted = False
    try:
        predict(detector, listed, results, score_thr, draw)
    except KeyboardInterrupt:
        interrupted = True
    if interrupted and out.exists():
        out = out.with_suffix('.partial.json')
    if results.images or not interrupted:
        replace(out, json.dumps(results.boxes))
        click.echo(f'{len(results.boxes)} boxes written to {out}')
        if beside:
            beside = out.with_suffix('.images.json')
            replace(beside, json.dumps(results.coco(coco['categories'])))
            click.echo(f'Their images and categories are in {beside}')
    conclude(results, len(listed), interrupted)


def conclude(results: Results, count: int, interrupted: bool) -> None:
    """Say what went wrong with `count` images, and exit if anything did."""
    for line in (*results.failures, *results.undrawn):
        click.echo(line, err=True)
    said = []
    if results.failures:
        said.append(f'{len(results.failures)} of {count} images failed')
    if results.undrawn:
        said.append(f'{len(results.undrawn)} of {count} have no picture')
    if interrupted:
        done = f'Interrupted, {len(results.images)} of {count} images are done'
        click.echo('; '.join([done, *said]), err=True)
        sys.exit(130)
    if said:
        raise click.ClickException(f'{", ".join(said)}, see above')


def build(
    config: str,
    cfg_options: Sequence[str],
    checkpoint: str,
    ensemble: Sequence[str],
    device: str | None,
    fuse: str,
    preset: str | None,
    iou_thr: float | None,
    **tiling,
) -> Any:
    """The `TiledDetector` of the command's options.

    Raises:
        ValueError: An option, the config or a checkpoint does not fit.
    """
    fusion = fusion_options(fuse, preset, iou_thr)
    cfg = read_config(config, cfg_options)
    # Not before: where mmdet is broken, read_config says so better.
    from mmdet_retina_plus.common.trained_detectors import load_detectors
    from mmdet_retina_plus.inference.tiled_detector import TiledDetector

    models = load_detectors(cfg, (checkpoint, *ensemble), device)
    return TiledDetector(models, **tiling, **fusion)


VIEWS = ('tile', 'flip', 'ensemble')


NEEDS = {
    'overlap': ('tile',),
    'batch_size': ('tile',),
    'fuse': VIEWS,
    'preset': VIEWS,
    'iou_thr': VIEWS,
    'show_score_thr': ('show_dir',),
}
"""Options that do nothing without one of others."""


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

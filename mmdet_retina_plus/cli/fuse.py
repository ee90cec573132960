"""`retina-plus fuse`: fuse result files."""

from collections.abc import Sequence
from pathlib import Path

import click

from mmdet_retina_plus.common.text import quantity, some
from mmdet_retina_plus.inference.fuse_results import fuse_files
from mmdet_retina_plus.inference.fusion_options import PRESET_WEIGHTS

from .errors import errors_as_messages
from .options import (
    FiniteRange,
    InputFile,
    iou_thr_option,
    out_option,
)
from .progress import progress_bar


@click.command()
@click.argument(
    'files',
    nargs=-1,
    required=True,
    type=InputFile(Path),
)
@out_option('JSON file to write; an existing one is replaced.', required=True)
@click.option(
    '--preset',
    type=click.Choice(list(PRESET_WEIGHTS)),
    default='paper',
    show_default=True,
    help='Preset of weighted box clustering; other options override it.',
)
@iou_thr_option('IoU with the best box above which a box joins its cluster.')
@click.option(
    '--score-floor', type=float, help='Fused boxes must score above this.'
)
@click.option(
    '--missing-weight',
    type=FiniteRange(0),
    help='Weight of a file that has not found the object.',
)
@click.option(
    '--max-per-img',
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help='Number of best boxes to keep per image.',
)
def main(
    files: Sequence[Path],
    out: Path,
    preset: str,
    max_per_img: int,
    **options,
) -> None:
    """Fuse COCO result FILES by weighted box clustering.

    Each of the FILES is a list of detections {image_id, category_id, bbox,
    score} of one detector or view. Files with different images, categories or
    scales are refused. Every file is expected to find every object: an object
    found in one of four files keeps a quarter of its score.

    Boxes are averaged, segmentations are not: a fused box has the segmentation
    of the best box in its cluster that has one. Other entries of a detection
    are left out. Images and categories that predict lists next to FILES are
    listed next to --out too.
    """
    with errors_as_messages(doctor=True):
        fused = fuse_files(
            files,
            out,
            preset,
            max_per_img,
            progress=progress_bar('Fusing'),
            **options,
        )
    for line in fused.notes:
        click.echo(f'Note: {line}', err=True)
    if fused.left_out:
        click.echo(f'Entries left out: {some(fused.left_out)}')
    if fused.num_cut:
        click.echo(
            f'Boxes left out by --max-per-img {max_per_img}: {fused.num_cut}'
        )
    click.echo(
        f'{quantity(len(fused.boxes), "box")} of '
        f'{quantity(fused.num_images, "image")} written to {out}'
    )
    for file in fused.files[1:]:
        click.echo(f'Their images and categories are in {file}')

"""`retina-plus fuse`: detections of several runs, consolidated."""

from collections.abc import Sequence
from pathlib import Path

import click

from mmdet_retina_plus.common.text import some
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
@out_option(
    'JSON file to write; one that is there is replaced.', required=True
)
@click.option(
    '--preset',
    type=click.Choice(list(PRESET_WEIGHTS)),
    default='paper',
    show_default=True,
    help='Whose choices to take where no option says otherwise.',
)
@iou_thr_option('Boxes that overlap the best one more than this join it.')
@click.option(
    '--score-floor', type=float, help='Fused boxes must score above this.'
)
@click.option(
    '--missing-weight',
    type=FiniteRange(0),
    help='How much a file counts that has not found the object.',
)
@click.option(
    '--max-per-img',
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help='Best boxes of an image to keep.',
)
def main(
    files: Sequence[Path],
    out: Path,
    preset: str,
    max_per_img: int,
    **options,
) -> None:
    """Fuse COCO result FILES by weighted box clustering into one.

    Each of the FILES is a list of detections {image_id, category_id, bbox,
    score}, as one detector, or one view, has found them. Files that are not
    of the same images, categories and scales are refused. All files are taken
    to have seen all images: an object that one of four has found alone keeps
    a quarter of its score.

    A fused box is a mean. A segmentation is none: it is that of the best box
    in the cluster that has one, unchanged. Other entries of a detection are
    left out.
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
        click.echo(f'Left out, since a mean has none: {some(fused.left_out)}')
    if fused.num_cut:
        click.echo(
            f'Boxes beyond --max-per-img {max_per_img}: {fused.num_cut}, '
            'left out'
        )
    click.echo(
        f'{len(fused.boxes)} boxes of {fused.num_images} images written to '
        f'{out}'
    )

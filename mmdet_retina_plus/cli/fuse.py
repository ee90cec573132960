"""`retina-plus fuse`: detections of several runs, consolidated."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmdet_retina_plus.common.coco_format import some
from mmdet_retina_plus.common.output_files import check_out, replace
from mmdet_retina_plus.inference.fuse_results import (
    by_image,
    fuse_image,
    left_out_of,
    read_results,
)

from .options import PATCH_WEIGHTS, FiniteRange

if TYPE_CHECKING:
    pass


@click.command()
@click.argument(
    'files',
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    '--out',
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help='JSON file to write; one that is there is replaced.',
)
@click.option(
    '--preset',
    type=click.Choice(list(PATCH_WEIGHTS)),
    default='paper',
    show_default=True,
    help='Whose choices to take where no option says otherwise.',
)
@click.option(
    '--iou-thr',
    type=FiniteRange(0, 1),
    help='Boxes that overlap the best one more than this join it.',
)
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
    score}, as one detector, or one view, has found them. All files are taken
    to have seen all images: an object that one of four has found alone keeps
    a quarter of its score.

    A fused box is a mean. A segmentation is none: it is the one of the best
    box in the cluster, unchanged, and left out where that box has none. Other
    entries of a detection are left out.
    """
    from rich.console import Console
    from rich.progress import track

    try:
        check_out(out, files)
        views = [read_results(file) for file in files]
        from mmdet_retina_plus.fusion import WBC_PRESETS

        given = {
            name: value for name, value in options.items() if value is not None
        }
        arguments = dict(WBC_PRESETS[preset], n_expected=len(views), **given)
        fused, cut = [], 0
        images = by_image(views)
        for image in track(images, 'Fusing', console=Console(stderr=True)):
            boxes = fuse_image(image, arguments)
            fused += boxes[:max_per_img]
            cut += len(boxes[max_per_img:])
        replace(out, json.dumps(fused))
    except ImportError as error:
        raise click.ClickException(
            f'{error}; `retina-plus doctor` names what to install'
        ) from error
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    left_out = left_out_of(views)
    if left_out:
        click.echo(f'Left out, since a mean has none: {some(left_out)}')
    if cut:
        click.echo(
            f'Boxes beyond --max-per-img {max_per_img}: {cut}, left out'
        )
    click.echo(f'{len(fused)} boxes of {len(images)} images written to {out}')

"""`retina-plus fuse`: detections of several runs, consolidated."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .coco_format import entry_error, has_box, is_id, is_number, some
from .fusion_options import PATCH_WEIGHTS, FiniteRange
from .output import check_out, replace

if TYPE_CHECKING:
    from torch import Tensor

    from mmdet_retina_plus.fusion import BoxClusters

LARGEST = 1e100
"""Of a box's numbers: the areas of many must have a sum."""


def is_box(value: object) -> bool:
    return (
        has_box(dict(bbox=value))
        and max(map(abs, value)) < LARGEST  # type: ignore[call-overload]
        and min(value[2:]) >= 0  # type: ignore[index]
    )


def is_score(value: object) -> bool:
    return is_number(value) and value >= 0  # type: ignore[operator]


FIELDS = {
    'image_id': (is_id, 'an id'),
    'category_id': (is_id, 'an id'),
    'bbox': (
        is_box,
        '[x, y, width, height] below 1e100, neither side below 0',
    ),
    'score': (is_score, 'a number of 0 or more'),
}


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


def read_results(file: Path) -> list[dict]:
    """The detections of a file.

    Raises:
        ValueError: The file or a detection is not in COCO's result format.
    """
    try:
        records = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{file} is no JSON: {error}') from None
    if not isinstance(records, list):
        raise ValueError(
            f'{file} holds no list of detections: name a result file, as '
            '`retina-plus predict` or mmdet with outfile_prefix write it'
        )
    for index, record in enumerate(records):
        problem = entry_error(record, FIELDS)
        if problem:
            raise ValueError(f'{file}[{index}]{problem}')
    return records


def by_image(views: Sequence[list[dict]]) -> list[list[tuple[int, dict]]]:
    """Detections of each image, each with the number of its view."""
    images: dict[object, list[tuple[int, dict]]] = {}
    for number, records in enumerate(views):
        for record in records:
            images.setdefault(record['image_id'], []).append((number, record))
    return list(images.values())


def fuse_image(image: list[tuple[int, dict]], arguments: dict) -> list[dict]:
    """Fused detections of an image, by falling score.

    Args:
        image: Detections, each with the number of its view.
        arguments: Of ``weighted_box_clustering``.
    """
    import torch

    from mmdet_retina_plus.fusion import weighted_box_clustering

    numbers, records = zip(*image, strict=True)
    # A category's id may be a name.
    ids = list(dict.fromkeys(record['category_id'] for record in records))
    labels = torch.tensor(
        [ids.index(record['category_id']) for record in records]
    )
    boxes = torch.tensor(
        [record['bbox'] for record in records], dtype=torch.float64
    )
    boxes[:, 2:] += boxes[:, :2]
    scores = torch.tensor(
        [record['score'] for record in records], dtype=torch.float64
    )
    clusters = weighted_box_clustering(
        boxes, scores, labels, torch.tensor(numbers), **arguments
    )
    boxes = clusters.boxes
    boxes[:, 2:] -= boxes[:, :2]
    fused = [
        dict(
            image_id=records[0]['image_id'],
            category_id=ids[label],
            bbox=box,
            score=score,
        )
        for label, box, score in zip(
            clusters.labels.tolist(),
            boxes.tolist(),
            clusters.scores.tolist(),
            strict=True,
        )
    ]
    for record, best in zip(fused, best_of(clusters, scores), strict=True):
        if 'segmentation' in records[best]:
            record['segmentation'] = records[best]['segmentation']
    return fused


def best_of(clusters: 'BoxClusters', scores: 'Tensor') -> list[int]:
    """Index of each cluster's best detection, the first of equal ones."""
    best: dict[int, int] = {}
    cluster_ids = clusters.cluster_ids.tolist()
    for index in scores.argsort(descending=True, stable=True).tolist():
        best.setdefault(cluster_ids[index], index)
    return [best[row] for row in range(len(clusters.scores))]


def left_out_of(views: Sequence[list[dict]]) -> list[str]:
    """Names of what detections have and a fused one has not."""
    names = {
        name for records in views for record in records for name in record
    }
    return sorted(names - FIELDS.keys() - {'segmentation'})

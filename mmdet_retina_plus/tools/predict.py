"""`retina-plus predict`: detections in images of any size, as COCO results."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click

from .fusion_options import PATCH_WEIGHTS, FiniteRange, fusion_options
from .image_list import (
    ListedImage,
    category_ids,
    find_images,
    images_of,
    read_coco,
)
from .many_values import ManyValues, cfg_options_option, is_pair
from .output import replace
from .predict_checks import (
    check_files,
    check_pictures,
    idle_options,
    read_config,
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


@dataclass
class Results:
    """What was found in all images.

    Attributes:
        categories: Id of each label.
        boxes: COCO's results.
        images: COCO's images, those that were seen.
        failures: A line for each of the others.
        undrawn: A line for each that was seen, but of which no picture could
            be made.
    """

    categories: Sequence[int | str]
    boxes: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    undrawn: list[str] = field(default_factory=list)

    def add(
        self, image: ListedImage, shape: tuple[int, ...], found: Any
    ) -> None:
        """Take up an image of a shape (H, W, ...) with its InstanceData."""
        # Before anything is taken up, since one of them may fail.
        boxes = [
            dict(
                image_id=image.image_id,
                category_id=self.categories[label],
                bbox=[x1, y1, x2 - x1, y2 - y1],
                score=score,
            )
            for (x1, y1, x2, y2), score, label in zip(
                found.bboxes.tolist(),
                found.scores.tolist(),
                found.labels.tolist(),
                strict=True,
            )
        ]
        self.images.append(
            dict(
                id=image.image_id,
                file_name=image.file_name,
                height=shape[0],
                width=shape[1],
            )
        )
        self.boxes += boxes

    def coco(self, categories: Sequence[dict]) -> dict[str, Sequence]:
        """A COCO file of the images, without annotations."""
        return dict(images=self.images, annotations=[], categories=categories)


def predict(
    detector: Any,
    listed: Sequence[ListedImage],
    results: Results,
    score_thr: float,
    draw: Callable[[ListedImage, Any], object],
) -> None:
    """Detect in all images; what fails in one does not stop the next.

    Args:
        detector: A `TiledDetector`.
        listed: The images.
        results: Take up what is found.
        score_thr: Least score to keep.
        draw: Makes a picture.
    """
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task('images', total=len(listed))

        def advance(done: int, share: float) -> None:
            progress.update(task, completed=done + share)

        for number, image in enumerate(listed):
            try:
                pixels = detector.read(image.path)
                found = detector(pixels, partial(advance, number))
                found = found[found.scores >= score_thr]
                results.add(image, pixels.shape, found)
            except Exception as error:  # Of files, pipelines and models.
                results.failures.append(
                    f'{image.file_name}: {in_a_line(error)}'
                )
            else:
                try:
                    draw(image, found)
                except Exception as error:  # Of files and drawing.
                    results.undrawn.append(
                        f'{image.file_name}: no picture: {in_a_line(error)}'
                    )
            advance(number, 1)


def in_a_line(error: Exception) -> str:
    """OpenCV's errors, for one, have several."""
    return ' '.join(f'{type(error).__name__}: {error}'.split())


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


def picture_maker(
    show_dir: Path | None, meta: dict[str, Any], score_thr: float
) -> Callable[[ListedImage, Any], object]:
    """What draws an image's boxes into a file of its name below a folder."""
    if show_dir is None:
        return lambda image, found: None
    from .pictures import Pictures

    pictures = Pictures(meta, score_thr)
    return lambda image, found: pictures.save(
        image.path, found, show_dir / image.file_name
    )


def numbered(classes: Sequence[str]) -> list[dict[str, Any]]:
    return [dict(id=i, name=name) for i, name in enumerate(classes, 1)]


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
    from .detector import TiledDetector, load_detectors

    models = load_detectors(cfg, (checkpoint, *ensemble), device)
    return TiledDetector(models, **tiling, **fusion)

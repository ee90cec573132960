"""Run detectors on images and write a COCO result file."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from mmdet_retina_plus.common.config_file import read_config
from mmdet_retina_plus.common.devices import chosen_device
from mmdet_retina_plus.common.label_names import (
    category_ids,
    trained_names,
    unknown_categories,
)
from mmdet_retina_plus.common.output_files import (
    RowsFile,
    replacing,
    target_of,
)
from mmdet_retina_plus.common.result_records import check_replaceable
from mmdet_retina_plus.common.text import (
    TAKE_WEAKER,
    building,
    quantity,
    some,
    verb,
)

from .checks import check_outputs, check_outside, check_pictures
from .fusion_options import fusion_options
from .image_list import ListedImage, find_images, images_of, read_coco
from .image_loop import detect_in_all
from .image_sizes import applies_orientation
from .results import Results, images_file
from .shards import Origin, Shard, fingerprint, merge_shards


class Outcome(NamedTuple):
    """Results of a run and the files that were written.

    Attributes:
        results: Detections and errors.
        total: Number of images to process.
        interrupted: Whether Ctrl-C ended the run before the last image.
        files: Result file, and the file of its images and categories if there
            is no annotation file. Empty if nothing was written.
        num_boxes: Number of boxes in the result file.
        unjoined: Why the parts could not be joined; empty otherwise.
    """

    results: Results
    total: int
    interrupted: bool
    files: list[Path]
    num_boxes: int = 0
    unjoined: str = ''


class UnwrittenError(OSError):
    """A result file could not be written.

    Attributes:
        outcome: Results, and the files written before the error.
    """

    def __init__(self, reason: OSError, outcome: Outcome) -> None:
        super().__init__(str(reason))  # Its `args` lack the file name.
        self.outcome = outcome


def detect_images(
    images: str,
    config: str,
    checkpoint: str,
    out: Path,
    *,
    ann_file: Path | None = None,
    tile: int | None = None,
    overlap: float = 0.25,
    flip: bool = False,
    ensemble: Sequence[str] = (),
    fuse: str = 'wbc',
    preset: str | None = None,
    iou_thr: float | None = None,
    score_thr: float = 0.0,
    batch_size: int = 1,
    device: str | None = None,
    show_dir: Path | None = None,
    maps: Path | None = None,
    show_score_thr: float = 0.3,
    shard: Shard | None = None,
    cfg_options: Sequence[str] = (),
) -> Outcome:
    """Detect objects in images and write the boxes to a COCO result file.

    The results name images that fail; all others are written. Ctrl-C ends the
    loop and writes what is done, to ``*.partial.json`` if `out` exists or this
    is a part. Without an annotation file, images and classes are numbered from
    1, and a COCO file next to `out` lists them.

    Args:
        images: File, folder with its subfolders, or glob pattern.
        config: Config file of mmdet.
        checkpoint: File or URL.
        out: Result file.
        ann_file: COCO file that lists the images, below the folder `images`.
        tile: Side of a tile in pixels. None: whole images.
        overlap: Overlap of neighbouring tiles, as a fraction of their side.
        flip: Whether to also run each view mirrored left to right.
        ensemble: More checkpoints of the config.
        fuse: How views are merged, 'wbc' or 'nms', see `fusion_options`.
        preset: Preset of weighted box clustering, see `fusion_options`.
        iou_thr: IoU threshold of the fusion, see `fusion_options`.
        score_thr: Minimum score after the fusion.
        batch_size: Tiles per batch.
        device: None: the first GPU, or else the CPU.
        show_dir: Folder for pictures. None: no pictures.
        maps: Folder for semantic maps, which a model with a semantic head
            predicts for whole images. None: no maps.
        show_score_thr: Minimum score of a box in a picture.
        shard: Part of the images to process. Its results are a file next to
            `out`; the part that finishes last joins all parts in `out`.
        cfg_options: Changes of the config, each KEY=VALUE.

    Raises:
        ValueError: An option, an image list, the config or a checkpoint is
            wrong; nothing is written then.
        ImportError: The environment is broken.
        UnwrittenError: A result file cannot be written; has the outcome.
    """
    if maps and (tile or flip or ensemble):
        raise ValueError(
            'Maps need whole images in a single view: leave out --maps, or '
            '--tile, --flip and --ensemble'
        )
    checkpoints = (checkpoint, *ensemble)
    whole_list, coco = images_to_see(
        images, config, checkpoints, out, ann_file, show_dir, maps, shard
    )
    whole, listed = out, whole_list
    if shard:
        out, listed = shard.file(out), shard.select(listed)
    device = chosen_device(device)
    fusion = fusion_options(fuse, preset, iou_thr)
    cfg = read_config(config, cfg_options)
    run = ''
    if shard:
        run = fingerprint(
            checkpoints,
            cfg.to_dict(),
            [(image.image_id, image.file_name) for image in whole_list],
            coco.get('categories'),
            dict(tile=tile, overlap=overlap, flip=flip, score_thr=score_thr),
            fusion,
        )
    if maps is not None:
        if not cfg.model.get('semantic_head'):
            raise ValueError(
                f'{config} has no model.semantic_head, which --maps needs: '
                'use a Retina U-Net'
            )
        cfg.merge_from_dict({'model.test_cfg.with_seg': True})
    # After read_config, which reports a broken mmdet better.
    from mmdet_retina_plus.common.trained_detectors import load_detectors

    from .pictures import picture_maker
    from .tiled_detector import TiledDetector

    models = load_detectors(cfg, checkpoints, device)
    with building('pipeline'):
        detector = TiledDetector(
            models, tile, overlap, batch_size, flip, **fusion
        )
    names, notes = trained_names(
        cfg,
        detector.meta['classes'],
        [
            checkpoint
            for checkpoint, model in zip(checkpoints, models, strict=True)
            if not model.names_classes
        ],
    )
    detector.meta['classes'] = names
    coco.setdefault('categories', numbered(names))
    unknown = unknown_categories(coco, names) if ann_file else []
    if unknown:
        notes.append(
            f'the detector has no class {some(unknown)}, so it finds no '
            'object of these categories'
        )
    if shard:
        shard.remove(whole)
    draw = picture_maker(
        show_dir,
        maps,
        detector.meta,
        show_score_thr,
        applies_orientation(detector.loader),
    )
    with RowsFile(out) as rows:
        results = Results(category_ids(coco, names), rows, notes=notes)
        outcome = Outcome(results, len(listed), False, [])
        try:
            detect_in_all(detector, listed, results, score_thr, draw)
        except KeyboardInterrupt:
            outcome = outcome._replace(interrupted=True)
        except OSError as error:
            raise UnwrittenError(error, outcome) from error
        outcome = outcome._replace(num_boxes=rows.count)
        if results.turned:
            results.notes.append(
                f'{quantity(len(results.turned), "image")} turned or mirrored '
                f'by EXIF orientation ({some(results.turned)}): boxes fit the '
                'annotations only if those were made on turned images'
            )
        num_pictures = len(results.images) - len(results.undrawn)
        if results.images and not rows.count:
            results.notes.append(f'nothing was detected: {TAKE_WEAKER}')
        elif results.num_bare:
            results.notes.append(
                f'{results.num_bare} of '
                f'{quantity(num_pictures, "picture")} '
                f'{verb(results.num_bare, "have")} no box above '
                f'{show_score_thr:g}: lower --show-score-thr; `retina-plus '
                'evaluate` shows the best threshold'
            )
        if not results.images and (outcome.interrupted or out.exists()):
            return outcome
        # A part under the name of a finished one would be joined.
        if outcome.interrupted and (shard or out.exists()):
            out = target_of(out).with_suffix('.partial.json')
        beside: dict[str, Any] = {}
        if shard is not None or ann_file is None:
            beside = dict(results.coco(coco['categories']))
        elif not is_same(images_file(out), ann_file):
            # From an earlier run without an annotation file.
            images_file(out).unlink(missing_ok=True)
        if shard:
            seen = len(results.images) + results.num_failed
            origin = Origin(run, seen, len(whole_list))
            beside['origin'] = origin._asdict()
        write_results(outcome, out, beside)
    if shard and not outcome.interrupted:
        try:
            merged = merge_shards(
                whole,
                shard.total,
                run,
                [image.image_id for image in whole_list],
            )
        except ValueError as error:
            return outcome._replace(unjoined=str(error))
        if merged is None:
            results.notes.append(
                f'{out.name} waits for other parts: the part that finishes '
                f'last joins all in {whole}'
            )
        else:
            outcome.files[:] = [whole, images_file(whole)]
            results.notes.append(f'{shard.total} parts joined')
            outcome = outcome._replace(num_boxes=merged)
    return outcome


def images_to_see(
    images: str,
    config: str,
    checkpoints: Sequence[str],
    out: Path,
    ann_file: Path | None = None,
    show_dir: Path | None = None,
    maps: Path | None = None,
    shard: Shard | None = None,
) -> tuple[list[ListedImage], dict[str, Any]]:
    """List the images of all parts, and read the annotation file.

    For the arguments, see `detect_images`. It needs no heavy imports.

    Raises:
        ValueError: An input cannot be read, or an output would overwrite one.
    """
    coco: dict[str, Any] = {}
    if ann_file:
        coco = read_coco(ann_file)
        listed = images_of(ann_file, coco, Path(images))
    else:
        listed = find_images(images)
    if shard and shard.total > len(listed):
        raise ValueError(
            f'{shard.total} parts of {quantity(len(listed), "image")}: every '
            'part needs an image, so use fewer parts'
        )
    part = shard.file(out) if shard else out
    check_outputs(
        [out] if ann_file and not shard else [out, part, images_file(part)],
        config,
        checkpoints,
        [*(image.path for image in listed), *([ann_file] if ann_file else [])],
    )
    check_replaceable(out)
    folders: list[Path] = []
    if show_dir is not None:
        check_pictures(show_dir, listed)
        folders.append(show_dir)
    if maps is not None:
        check_pictures(maps, listed, '.png')
        folders.append(maps)
        if show_dir is not None and maps.resolve() == show_dir.resolve():
            raise ValueError('--maps and --show-dir need different folders')
    for folder in folders if ann_file is None else ():
        check_outside(folder, Path(images))
    return listed, coco


def is_same(file: Path, other: Path) -> bool:
    return file.exists() and file.samefile(other)


def numbered(classes: Sequence[str]) -> list[dict[str, Any]]:
    """Categories in COCO's format, with ids from 1."""
    return [dict(id=i, name=name) for i, name in enumerate(classes, 1)]


def write_results(outcome: Outcome, out: Path, beside: dict[str, Any]) -> None:
    """Write the boxes, and next to them the images and categories.

    Args:
        outcome: Outcome with the results; receives the files.
        out: Result file.
        beside: Images and categories; empty if an annotation file has both.

    Raises:
        UnwrittenError: A file cannot be written.
    """
    listed = images_file(out)
    try:
        with (
            replacing(listed, json.dumps(beside)) if beside else nullcontext()
        ):
            outcome.results.boxes.finish(out)
            outcome.files.append(out)
        if beside:
            outcome.files.append(listed)
    except OSError as error:
        raise UnwrittenError(error, outcome) from error

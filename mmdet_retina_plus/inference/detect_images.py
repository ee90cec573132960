"""From images, a config and checkpoints to a COCO result file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmdet_retina_plus.common.config_file import read_config
from mmdet_retina_plus.common.output_files import replace

from .checks import check_files, check_pictures
from .fusion_options import fusion_options
from .image_list import category_ids, find_images, images_of, read_coco
from .prediction import Results, picture_maker, predict


class Outcome(NamedTuple):
    """What a detection in many images came to.

    Attributes:
        results: What was found, and what failed.
        total: Number of images to detect in.
        interrupted: Whether Ctrl-C ended it before the last image.
        files: Result file, and the file of its images and categories where no
            annotation file lists them. Empty if nothing was written.
    """

    results: Results
    total: int
    interrupted: bool
    files: list[Path]


def detect_images(
    images: str,
    config: str,
    checkpoint: str,
    out: Path,
    *,
    ann_file: Path | None,
    tile: int | None,
    overlap: float,
    flip: bool,
    ensemble: Sequence[str],
    fuse: str,
    preset: str | None,
    iou_thr: float | None,
    score_thr: float,
    batch_size: int,
    device: str | None,
    show_dir: Path | None,
    show_score_thr: float,
    cfg_options: Sequence[str],
) -> Outcome:
    """Detect in images and write the boxes; options of `retina-plus predict`.

    Images that fail are in the results, all others are written. Ctrl-C ends
    the work and writes what is done, to ``*.partial.json`` where `out` exists.

    Args:
        images: A file, a folder, or a pattern.
        config: Of mmdet.
        checkpoint: File or address.
        out: Result file.
        ann_file: COCO file that lists the images, below the folder `images`.
        tile: Side in pixels. None: whole images.
        overlap: Of neighbouring tiles.
        flip: Whether to see each view mirrored, too.
        ensemble: More checkpoints.
        fuse: 'wbc' or 'nms', see `fusion_options`, as of the next two.
        preset: Of weighted box clustering.
        iou_thr: Of the fusion.
        score_thr: Least score after the fusion.
        batch_size: Tiles at a time.
        device: None: the first GPU, or else the CPU.
        show_dir: Folder for pictures. None: there are none.
        show_score_thr: Least score of a box in a picture.
        cfg_options: Changes of the config.

    Raises:
        ValueError: An option, an image list, the config or a checkpoint does
            not fit; nothing is written then.
        ImportError: The environment is broken.
        OSError: A result file cannot be written.
    """
    checkpoints = (checkpoint, *ensemble)
    coco = read_coco(ann_file) if ann_file else {}
    listed = images_of(coco, Path(images)) if coco else find_images(images)
    check_files(
        [out] if ann_file else [out, images_file(out)],
        config,
        checkpoints,
        [*(image.path for image in listed), *([ann_file] if ann_file else [])],
    )
    if show_dir is not None:
        check_pictures(show_dir, listed)
    fusion = fusion_options(fuse, preset, iou_thr)
    cfg = read_config(config, cfg_options)
    # Not before: where mmdet is broken, read_config says so better.
    from mmdet_retina_plus.common.trained_detectors import load_detectors

    from .tiled_detector import TiledDetector

    models = load_detectors(cfg, checkpoints, device)
    detector = TiledDetector(models, tile, overlap, batch_size, flip, **fusion)
    classes = detector.meta['classes']
    coco.setdefault('categories', numbered(classes))
    results = Results(category_ids(coco, classes))
    draw = picture_maker(show_dir, detector.meta, show_score_thr)
    interrupted = False
    try:
        predict(detector, listed, results, score_thr, draw)
    except KeyboardInterrupt:
        interrupted = True
    files: list[Path] = []
    if results.images or not interrupted:
        if interrupted and out.exists():
            out = out.with_suffix('.partial.json')
        files = write_results(
            results, out, None if ann_file else coco['categories']
        )
    return Outcome(results, len(listed), interrupted, files)


def images_file(out: Path) -> Path:
    """Where the images and categories of a result file are written."""
    return out.with_suffix('.images.json')


def numbered(classes: Sequence[str]) -> list[dict[str, Any]]:
    """COCO's categories of classes, with ids from 1."""
    return [dict(id=i, name=name) for i, name in enumerate(classes, 1)]


def write_results(
    results: Results, out: Path, categories: Sequence[dict] | None
) -> list[Path]:
    """Write the boxes, and beside them the images with their categories.

    Args:
        results: What was found.
        out: Result file.
        categories: None: an annotation file has both.

    Returns:
        The files.
    """
    replace(out, json.dumps(results.boxes))
    if categories is None:
        return [out]
    replace(images_file(out), json.dumps(results.coco(categories)))
    return [out, images_file(out)]

"""Fuse COCO result files of several detectors or views."""

import gc
import json
from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmdet_retina_plus.common.coco_format import entry_error, has_box
from mmdet_retina_plus.common.numbers import is_finite
from mmdet_retina_plus.common.output_files import (
    check_out,
    replace,
    replacing,
)
from mmdet_retina_plus.common.result_records import (
    IDS,
    check_replaceable,
    read_list,
)

from .compare_results import compare
from .result_files import listed_by_any, with_names
from .results import images_file

BATCH = 20_000
"""Detections per call of the fusion, to share its overhead."""
LARGEST = 1e100
"""Limit of a box's numbers, so that the sum of areas stays finite."""


def is_box(value: object) -> bool:
    return (
        has_box(dict(bbox=value))
        and max(map(abs, value)) < LARGEST  # type: ignore[call-overload]
        and min(value[2:]) >= 0  # type: ignore[index]
    )


def is_non_negative(value: object) -> bool:
    return is_finite(value) and value >= 0


def is_mask(value: object) -> bool:
    """Whether a segmentation is run lengths or polygons; empty for none."""
    if isinstance(value, Mapping):
        return not value or value.keys() >= {'size', 'counts'}
    return value is None or isinstance(value, list)


FIELDS = {
    **IDS,
    'bbox': (
        is_box,
        '[x, y, width, height] below 1e100 with no negative side',
    ),
    'score': (is_non_negative, 'a number of 0 or more'),
}


class Fused(NamedTuple):
    """Result of a fusion of files.

    Attributes:
        boxes: Detections in COCO's result format, as written.
        files: Result file, and the file of its images and categories if such
            files are next to the fused ones.
        num_images: Number of images with a detection.
        num_cut: Number of boxes dropped by `max_per_img`.
        left_out: Keys of detections that fused ones do not have.
        notes: Notes on possible mistakes.
    """

    boxes: list[dict]
    files: list[Path]
    num_images: int
    num_cut: int
    left_out: list[str]
    notes: list[str]


def fuse_files(
    files: Sequence[Path],
    out: Path,
    preset: str = 'paper',
    max_per_img: int = 100,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    **changes: float | None,
) -> Fused:
    """Fuse the detections of files and write them.

    Images and categories that are listed next to the files are listed next to
    `out` too.

    Args:
        files: COCO result files, each of a detector that processed all images.
        out: Result file.
        preset: Key of `WBC_PRESETS`.
        max_per_img: Number of best boxes to keep per image.
        progress: Wraps an iterable to show progress.
        changes: Arguments of `weighted_box_clustering`; None: the preset's.

    Raises:
        ValueError: A file is not in COCO's result format, does not fit the
            others or is given twice; or `out` is one of them, or exists and is
            not a result file.
        ImportError: The environment is broken.
        OSError: The file cannot be written.
    """
    for file in (out, images_file(out)):
        check_out(file, files)
    check_replaceable(out)
    check_distinct(files)
    with without_collection():
        return fuse_distinct_files(
            files, out, preset, max_per_img, progress, changes
        )


@contextmanager
def without_collection() -> Iterator[None]:
    """Disable Python's cyclic garbage collection.

    A million detections have no cycles, but scanning them takes half of the
    time of reading them.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def fuse_distinct_files(
    files: Sequence[Path],
    out: Path,
    preset: str,
    max_per_img: int,
    progress: Callable[[Iterable[Any]], Iterable[Any]],
    changes: Mapping[str, float | None],
) -> Fused:
    """Do the work of `fuse_files` with checked arguments."""
    views = [read_results(file) for file in files]
    named = [with_names(*file) for file in zip(files, views, strict=True)]
    notes = compare(named, strict=changes.get('missing_weight') != 0)
    if len(files) == 1:
        notes.append(
            f'{files[0]} is the only file: its overlapping boxes are merged'
        )
    # Only now, since torch takes seconds to import.
    from mmdet_retina_plus.kernels.weighted_box_clustering import (
        WBC_PRESETS,
    )

    given = {name: x for name, x in changes.items() if x is not None}
    arguments = dict(WBC_PRESETS[preset], n_expected=len(views), **given)
    boxes, num_cut = [], 0
    images = by_image(views)
    for batch in progress(batches(images)):
        for fused in fuse_images(batch, arguments):
            boxes += fused[:max_per_img]
            num_cut += len(fused[max_per_img:])
    written = write(boxes, listed_by_any(named), out)
    return Fused(
        boxes, written, len(images), num_cut, left_out_of(views), notes
    )


def write(boxes: list[dict], coco: Mapping[str, Any], out: Path) -> list[Path]:
    """Write the fused boxes, and next to them their images and categories.

    Args:
        boxes: Detections in COCO's result format.
        coco: Images and categories, may be empty.
        out: Result file.

    Returns:
        The written files.

    Raises:
        OSError: A file cannot be written.
    """
    beside = images_file(out)
    if not coco:
        # Names of an earlier run must not lie next to these boxes.
        beside.unlink(missing_ok=True)
        replace(out, json.dumps(boxes))
        return [out]
    with replacing(beside, json.dumps(coco)):
        replace(out, json.dumps(boxes))
    return [out, beside]


def check_distinct(files: Sequence[Path]) -> None:
    """Refuse a file that is given twice, which would count as two detectors.

    Raises:
        ValueError: A file is given twice.
    """
    paths = [file.resolve() for file in files]
    for number, file in enumerate(files):
        if paths[number] in paths[:number]:
            raise ValueError(f'{file} is given twice: name each file once')


def read_results(file: Path) -> list[dict]:
    """Read the detections of a file.

    Raises:
        ValueError: The file or a detection is not in COCO's result format.
    """
    records = read_list(file)
    if are_plain(records):
        return records
    for index, record in enumerate(records):
        problem = entry_error(record, FIELDS)
        if not problem and not is_mask(record.get('segmentation')):
            problem = (
                f' has segmentation {record["segmentation"]!r}, neither run '
                'lengths {size, counts} nor polygons'
            )
        if problem:
            raise ValueError(f'{file}[{index}]{problem}')
    return records


def are_plain(records: list[Any]) -> bool:
    """Whether detections pass a quick check.

    Detections that fail may still be valid, see `FIELDS`.
    """
    try:
        boxes = [record['bbox'] for record in records]
        scores = [record['score'] for record in records]
        kinds = {type(x) for box in boxes for x in box}
        kinds |= {type(score) for score in scores}
        ids = {type(record['image_id']) for record in records}
        ids |= {type(record['category_id']) for record in records}
        if not (kinds <= {int, float} and ids <= {int}):
            return False
        corners = np.array(boxes, float).reshape(len(boxes), 4)
        values = np.array(scores, float)
        if not all(is_mask(record.get('segmentation')) for record in records):
            return False
    except (KeyError, TypeError, ValueError, OverflowError):
        return False
    return bool(
        (np.abs(corners) < LARGEST).all()
        and (corners[:, 2:] >= 0).all()
        and np.isfinite(values).all()
        and (values >= 0).all()
    )


def by_image(views: Sequence[list[dict]]) -> list[list[tuple[int, dict]]]:
    """Group detections by image, each with the index of its view."""
    images: dict[object, list[tuple[int, dict]]] = {}
    for number, records in enumerate(views):
        for record in records:
            images.setdefault(record['image_id'], []).append((number, record))
    return list(images.values())


def batches(
    images: list[list[tuple[int, dict]]],
) -> list[list[list[tuple[int, dict]]]]:
    """Group images into batches of about `BATCH` detections."""
    parts: list[list[list[tuple[int, dict]]]] = []
    size = BATCH
    for image in images:
        if size >= BATCH:
            parts.append([])
            size = 0
        parts[-1].append(image)
        size += len(image)
    return parts


def fuse_images(
    images: list[list[tuple[int, dict]]], arguments: dict
) -> list[list[dict]]:
    """Fuse the detections of each image, by descending score.

    Args:
        images: Detections of each image, each with the index of its view.
        arguments: Arguments of ``weighted_box_clustering``.
    """
    import torch

    from mmdet_retina_plus.kernels.weighted_box_clustering import (
        best_members,
        weighted_box_clustering,
    )

    numbers, records = zip(
        *(item for image in images for item in image), strict=True
    )
    # Only boxes of the same image and category are fused; ids may be strings.
    labels_of: dict[tuple, int] = {}
    labels = torch.tensor(
        [
            labels_of.setdefault(
                (record['image_id'], record['category_id']), len(labels_of)
            )
            for record in records
        ]
    )
    ids = list(labels_of)
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
            image_id=ids[label][0],
            category_id=ids[label][1],
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
    has_mask = torch.tensor(
        [bool(record.get('segmentation')) for record in records]
    )
    if has_mask.any():
        best = best_members(
            clusters.cluster_ids, scores.where(has_mask, -1), len(fused)
        )
        for record, index in zip(fused, best.tolist(), strict=True):
            if has_mask[index]:
                record['segmentation'] = records[index]['segmentation']
    by_id: dict[object, list[dict]] = {
        image[0][1]['image_id']: [] for image in images
    }
    for record in fused:
        by_id[record['image_id']].append(record)
    return list(by_id.values())


def left_out_of(views: Sequence[list[dict]]) -> list[str]:
    """Keys of detections that fused ones do not have."""
    names = {
        name for records in views for record in records for name in record
    }
    return sorted(names - FIELDS.keys() - {'segmentation'})

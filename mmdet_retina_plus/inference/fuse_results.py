"""Fuse COCO result files of several detectors or views into one file."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmdet_retina_plus.common.coco_format import entry_error, has_box, is_id
from mmdet_retina_plus.common.numbers import is_finite
from mmdet_retina_plus.common.output_files import check_out, replace

from .compare_results import compare
from .result_files import with_names

if TYPE_CHECKING:
    from torch import Tensor

    from mmdet_retina_plus.fusion import BoxClusters

LARGEST = 1e100
"""Limit of a box's numbers: the areas of many must have a sum."""


def is_box(value: object) -> bool:
    return (
        has_box(dict(bbox=value))
        and max(map(abs, value)) < LARGEST  # type: ignore[call-overload]
        and min(value[2:]) >= 0  # type: ignore[index]
    )


def is_non_negative(value: object) -> bool:
    return is_finite(value) and value >= 0


FIELDS = {
    'image_id': (is_id, 'an id'),
    'category_id': (is_id, 'an id'),
    'bbox': (
        is_box,
        '[x, y, width, height] below 1e100, neither side below 0',
    ),
    'score': (is_non_negative, 'a number of 0 or more'),
}


class Fused(NamedTuple):
    """Result of a fusion of files.

    Attributes:
        boxes: Detections in COCO's result format, as written.
        num_images: Images with a detection.
        num_cut: Boxes that were dropped by `max_per_img`.
        left_out: Keys of detections that a fused one does not have.
        notes: Lines on what may not be meant.
    """

    boxes: list[dict]
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

    Args:
        files: COCO's results, each of a detector that has seen all images.
        out: Result file.
        preset: Key of `WBC_PRESETS`.
        max_per_img: Best boxes of an image to keep.
        progress: Passes images on and shows how many are done.
        changes: Arguments of `weighted_box_clustering`. None: the preset's.

    Raises:
        ValueError: A file is not in COCO's result format, does not fit the
            others or is given twice, or `out` is one of them.
        ImportError: The environment is broken.
        OSError: A file cannot be read or written.
    """
    check_out(out, files)
    check_distinct(files)
    views = [read_results(file) for file in files]
    from mmdet_retina_plus.fusion import WBC_PRESETS

    notes = compare(
        [with_names(*file) for file in zip(files, views, strict=True)],
        strict=changes.get('missing_weight') != 0,
    )
    given = {name: x for name, x in changes.items() if x is not None}
    arguments = dict(WBC_PRESETS[preset], n_expected=len(views), **given)
    boxes, num_cut = [], 0
    images = by_image(views)
    for image in progress(images):
        fused = fuse_image(image, arguments)
        boxes += fused[:max_per_img]
        num_cut += len(fused[max_per_img:])
    replace(out, json.dumps(boxes))
    return Fused(boxes, len(images), num_cut, left_out_of(views), notes)


def check_distinct(files: Sequence[Path]) -> None:
    """Refuse a file that would count as two detectors.

    Raises:
        ValueError: It is given twice.
    """
    paths = [file.resolve() for file in files]
    for number, file in enumerate(files):
        if paths[number] in paths[:number]:
            raise ValueError(f'{file} is given twice: name each file once')


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
    """Keys of detections that a fused one does not have."""
    names = {
        name for records in views for record in records for name in record
    }
    return sorted(names - FIELDS.keys() - {'segmentation'})

"""Detections from a COCO result file of any detector."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as mask_util

from mmdet_retina_plus.common.coco_format import entry_error, has_box
from mmdet_retina_plus.common.numbers import is_finite
from mmdet_retina_plus.common.result_records import IDS, read_list
from mmdet_retina_plus.common.suggestions import did_you_mean
from mmdet_retina_plus.common.text import some

from .masks import MaskError, run_lengths
from .matching import Detections
from .truth import BOXES, MASKS, Truth

FIELDS = {**IDS, 'score': (is_finite, 'a finite number')}
"""Required fields of a detection besides its box or mask."""


class Found(NamedTuple):
    """Detections in an image.

    Attributes:
        image_id: Id of the image.
        path: Path of its file, None if unknown.
        by_metric: Detections as boxes and as masks.
    """

    image_id: Any
    path: Path | None
    by_metric: dict[str, Detections]


def nothing(metrics: Sequence[str]) -> dict[str, Detections]:
    """Detections of an image without any."""
    none = np.zeros(0)
    return {name: with_areas(none.astype(int), [], none) for name in metrics}


def read_records(path: Path) -> list[dict]:
    """Read the detections of a result file.

    Raises:
        ValueError: The file cannot be read, is empty, or is not in COCO's
            format.
    """
    records = read_list(path)
    if not records:
        raise ValueError(f'{path} has no detections: nothing to evaluate')
    for index, record in enumerate(records):
        problem = entry_error(record, FIELDS)
        problem = problem or shape_error(record)
        if problem:
            raise ValueError(f'{path}[{index}]{problem}')
    return records


def shape_error(record: Mapping) -> str:
    """Describe what is wrong with the box of a detection; '' if nothing."""
    if not record.get('bbox'):
        # A mask implies its box.
        has_mask = bool(record.get('segmentation'))
        return '' if has_mask else ' has neither bbox nor segmentation'
    if not has_box(record) or min(record['bbox'][2:]) < 0:
        return (
            f' has bbox {record["bbox"]!r}, not [x, y, width, height] with no '
            'negative side'
        )
    return ''


def check_ids(path: Path, records: Sequence[Mapping], truth: Truth) -> None:
    """Refuse results of other images or categories.

    Raises:
        ValueError: The annotation file lacks an id.
    """
    for key, known in (
        ('image_id', truth.images),
        ('category_id', truth.labels),
    ):
        ids = dict.fromkeys(record[key] for record in records)
        unknown = [item for item in ids if item not in known]
        if unknown:
            raise ValueError(
                f'{path} has {key} {some(list(map(repr, unknown)))}, which '
                f'{truth.path} does not list (it has '
                f'{some(list(map(repr, known)))}): evaluate with the '
                'annotation file that the detector was run with'
            )


def renumber(
    records: Sequence[dict],
    images: Mapping[Any, str],
    categories: Mapping[Any, str],
    truth: Truth,
) -> None:
    """Give detections the ids of an annotation file, by names.

    `retina-plus predict` without an annotation file numbers images and
    classes from 1 and lists their names beside the results.

    Args:
        records: Detections, changed in place.
        images: File name of each id.
        categories: Name of each id.
        truth: The annotation file.

    Raises:
        ValueError: The annotation file lacks a name, or has it twice.
    """
    listed = {
        'image_id': (
            images,
            [(item['file_name'], key) for key, item in truth.images.items()],
        ),
        'category_id': (
            categories,
            list(zip(truth.classes, truth.categories, strict=True)),
        ),
    }
    for key, (names, known) in listed.items():
        ids = dict(known)
        if len(ids) < len(known):
            raise ValueError(
                f'{truth.path} has two entries of the same name, so {key} '
                'cannot be matched by name: predict with --ann-file'
            )
        used = dict.fromkeys(record[key] for record in records)
        absent = [names[item] for item in used if names[item] not in ids]
        if absent:
            raise ValueError(
                f'{truth.path} does not list {some(absent)}, which the '
                f'results have{did_you_mean(absent[0], ids)} (images and '
                'categories are matched by name)'
            )
        for record in records:
            record[key] = ids[names[record[key]]]


def metrics_of(path: Path, records: Sequence[Mapping]) -> list[str]:
    """Metrics that can be evaluated: boxes, and masks if there are any.

    Raises:
        ValueError: Only some detections have masks.
    """
    masks = [bool(record.get('segmentation')) for record in records]
    if any(masks) and not all(masks):
        raise ValueError(
            f'{path}[{masks.index(False)}] has no segmentation, but others '
            'do: write all detections with masks or all without'
        )
    return [BOXES, MASKS] if masks[0] else [BOXES]


def found_in(
    path: Path,
    records: Sequence[Mapping],
    metrics: Sequence[str],
    truth: Truth,
    images: Path | None,
) -> Iterator[Found]:
    """Detections of each image of the annotation file.

    Args:
        path: Result file, for messages.
        records: Its detections.
        metrics: Metrics to evaluate.
        truth: The annotation file.
        images: Folder of the images, None if unknown.

    Raises:
        ValueError: A mask cannot be read.
    """
    by_image: dict[Any, list[int]] = {}
    for index, record in enumerate(records):
        by_image.setdefault(record['image_id'], []).append(index)
    for image_id, image in truth.images.items():
        rows = by_image.get(image_id, [])
        items = [records[row] for row in rows]
        masks: list = []
        if MASKS in metrics or not all(item.get('bbox') for item in items):
            segmentations = [item['segmentation'] for item in items]
            try:
                masks = run_lengths(segmentations, *truth.size(image_id))
            except MaskError as error:
                raise ValueError(
                    f'{path}[{rows[error.index]}] {error}'
                ) from error
        place = images / image['file_name'] if images else None
        labels = np.array([truth.labels[x['category_id']] for x in items], int)
        scores = np.array([item['score'] for item in items], float)
        boxes = [
            item.get('bbox') or mask_util.toBbox(mask)
            for item, mask in zip(items, masks or items, strict=True)
        ]
        yield Found(
            image_id,
            place,
            {
                metric: with_areas(
                    labels, masks if metric == MASKS else boxes, scores
                )
                for metric in metrics
            },
        )


def with_areas(labels: Any, shapes: Any, scores: Any) -> Detections:
    """Add the areas of masks, or of boxes x, y, w, h, to detections."""
    if len(shapes) and isinstance(shapes[0], dict):
        areas = mask_util.area(shapes).astype(float)
    else:
        shapes = np.array(shapes, float).reshape(-1, 4)
        areas = shapes[:, 2] * shapes[:, 3]
    return Detections(labels, shapes, areas, scores)

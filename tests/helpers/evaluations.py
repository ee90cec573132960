"""Evaluations of COCO files, without their pages."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmdet_retina_plus.analysis.evaluation.columns import Columns
from mmdet_retina_plus.analysis.evaluation.evaluate import Subject, evaluate
from mmdet_retina_plus.analysis.evaluation.results import found_in
from mmdet_retina_plus.analysis.evaluation.truth import Truth
from tests.helpers.coco_scenes import Result

SIDE = 200
"""Width and height of images, in pixels."""


def records_of(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Detections of a scene as a COCO result file has them."""
    records = []
    for _, found in results:
        for label, box, score, mask in zip(
            found['labels'].tolist(),
            found['bboxes'].tolist(),
            found['scores'].tolist(),
            found['masks'],
            strict=True,
        ):
            x1, y1, x2, y2 = box
            counts = mask['counts']
            if isinstance(counts, bytes):
                counts = counts.decode()
            records.append(
                dict(
                    image_id=found['img_id'],
                    category_id=label + 5,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    score=score,
                    segmentation=dict(mask, counts=counts),
                )
            )
    return records


def coco_of(
    objects: Sequence[Sequence], images: int = 1, classes: int = 3
) -> dict[str, Any]:
    """A COCO file of objects: image, class, x, y, width, height."""
    return dict(
        images=[
            dict(id=n, file_name=f'{n}.png', width=SIDE, height=SIDE)
            for n in range(1, images + 1)
        ],
        categories=[dict(id=n, name=f'class {n}') for n in range(classes)],
        annotations=[
            dict(
                id=number,
                image_id=image,
                category_id=label,
                bbox=[x, y, width, height],
                area=width * height,
                iscrowd=0,
            )
            for number, (image, label, x, y, width, height) in enumerate(
                objects, 1
            )
        ],
    )


def detections_of(rows: Sequence[Sequence]) -> list[dict[str, Any]]:
    """A result file of image, class, x, y, width, height, score."""
    return [
        dict(image_id=image, category_id=label, bbox=list(box), score=score)
        for image, label, *box, score in rows
    ]


def columns_of(
    coco: dict[str, Any],
    records: Sequence[dict[str, Any]],
    metric: str = 'bbox',
    max_dets: int = 100,
) -> Columns:
    """What is matched by the public functions."""
    truth = Truth(Path('a.json'), coco)
    found = found_in(Path('r.json'), records, [metric], truth, None)
    subject = Subject(truth, found, 'a test', [])
    return evaluate(subject, max_dets)[metric].columns


def of_image(
    objects: Sequence[Sequence], detections: Sequence[Sequence]
) -> Columns:
    """Matches in one image; as `coco_of`, but without its number."""
    return columns_of(
        coco_of([(1, *item) for item in objects]),
        detections_of([(1, *item) for item in detections]),
    )


def random_scene(
    rng: np.random.Generator, images: int = 3
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Objects, of which one at least, and detections near and far."""
    objects: list[tuple] = [(1, 0, 10, 10, 30, 40)]
    rows: list[tuple] = []
    for image in range(1, images + 1):
        for _ in range(rng.integers(0, 5)):
            box = [*rng.integers(0, 100, 2), *rng.integers(4, 100, 2)]
            objects.append((image, rng.integers(0, 2), *map(int, box)))
        near = [item for item in objects if item[0] == image]
        for _ in range(rng.integers(0, 12)):
            label = int(rng.integers(0, 3))
            box = [*rng.integers(0, 100, 2), *rng.integers(4, 100, 2)]
            if near and rng.random() < 0.7:
                _, label, *box = near[rng.integers(len(near))]
                box = np.maximum(1, box + rng.integers(-12, 13, 4))
                label = int(label if rng.random() < 0.7 else 1)
            score = float(rng.integers(1, 20) / 20)
            rows.append((image, label, *map(int, box), score))
    if not rows:
        rows.append((1, 0, 10, 10, 30, 40, 0.5))
    return coco_of(objects, images), detections_of(rows)

"""Random COCO scenes with detections, and mmdet's metrics of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.registry import METRICS
from pycocotools import mask as mask_util

SIZE = 128
Result = tuple[dict, dict]
"""Size and number of an image, and its detections."""


def random_boxes(rng: np.random.Generator, num: int) -> np.ndarray:
    """Boxes x1, y1, x2, y2 of all three areas of COCO."""
    sizes = np.exp(rng.uniform(np.log(4), np.log(SIZE), (num, 2)))
    corners = rng.uniform(0, SIZE - sizes)
    return np.concatenate([corners, corners + sizes], axis=1)


def polygon(box: np.ndarray) -> list[list[float]]:
    x1, y1, x2, y2 = box.tolist()
    return [[x1, y1, x2, y1, (x1 + x2) / 2, y2, x1, y2]]


def run_length(box: np.ndarray) -> dict:
    parts = mask_util.frPyObjects(polygon(box), SIZE, SIZE)
    return mask_util.merge(parts)


def annotation(
    rng: np.random.Generator, image: int, box: np.ndarray, label: int
) -> dict[str, Any]:
    crowd = bool(rng.random() < 0.15)
    segmentation: Any = polygon(box)
    if crowd:
        segmentation = run_length(box)
        segmentation['counts'] = segmentation['counts'].decode()
    x1, y1, x2, y2 = box.tolist()
    return dict(
        image_id=image,
        category_id=label + 5,
        bbox=[x1, y1, x2 - x1, y2 - y1],
        area=0.75 * (x2 - x1) * (y2 - y1),
        iscrowd=int(crowd),
        segmentation=segmentation,
    )


def scene(
    seed: int, folder: Path, num_classes: int = 3, most: int = 40
) -> tuple[Path, list[Result]]:
    """Annotations and detections of eight images; some have none of either.

    Scores tie, boxes overlap objects, and those of a crowd, more or less.

    Args:
        seed: Random seed of the scene.
        folder: Where the annotations go.
        num_classes: The last has no object.
        most: Detections of an image.
    """
    rng = np.random.default_rng(seed)
    annotations: list[dict] = []
    results = []
    for image in range(1, 9):
        boxes = random_boxes(rng, rng.integers(1, 8) if image % 4 else 0)
        labels = rng.integers(num_classes - 1, size=len(boxes))
        annotations += [
            annotation(rng, image, box, int(label))
            for box, label in zip(boxes, labels, strict=True)
        ]
        num = rng.integers(1, most) if image % 3 else 0
        found = random_boxes(rng, num)
        classes = rng.integers(num_classes, size=num)
        if len(boxes) and num:
            near = rng.integers(len(boxes), size=num)
            moved = boxes[near] + rng.normal(0, 4, (num, 4))
            hit = rng.random(num) < 0.6
            moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
            found[hit] = moved.clip(0, SIZE)[hit]
            classes[hit] = labels[near][hit]
        size = dict(width=SIZE, height=SIZE, img_id=image)
        detections = dict(
            img_id=image,
            bboxes=found.astype(np.float32),
            scores=rng.random(num).round(1).astype(np.float32),
            labels=classes,
            masks=[run_length(box) for box in found],
        )
        results.append((size, detections))
    path = folder / 'annotations.json'
    coco = dict(
        images=[
            dict(id=image, width=SIZE, height=SIZE, file_name='')
            for image in range(1, 9)
        ],
        annotations=[
            dict(entry, id=number)
            for number, entry in enumerate(annotations, start=1)
        ],
        categories=[
            dict(id=label + 5, name=f'class {label}')
            for label in range(num_classes)
        ],
    )
    path.write_text(json.dumps(coco))
    return path, results


def evaluate(
    kind: str, path: Path, results: list[Result], **options
) -> dict[str, float]:
    metric = METRICS.build(
        dict(type=f'mmdet.{kind}', ann_file=str(path), **options)
    )
    names = [category['name'] for category in metric._coco_api.cats.values()]
    metric.dataset_meta = dict(classes=names)
    return metric.compute_metrics(results)

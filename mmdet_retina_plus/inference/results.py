"""Detections of many images in COCO's format, and errors."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmdet_retina_plus.common.output_files import RowsFile

from .image_list import ListedImage
from .run_lengths import empty


def coco_results(
    image: ListedImage,
    shape: tuple[int, ...],
    found: Any,
    categories: Sequence[int | str],
) -> list[dict[str, Any]]:
    """Convert detections to COCO's result format.

    Args:
        image: Image of the detections.
        shape: Shape of its array, (H, W, ...).
        found: InstanceData; `masks` are run lengths, None for an empty mask.
        categories: Category id of each label.
    """
    boxes: list[dict[str, Any]] = [
        dict(
            image_id=image.image_id,
            category_id=categories[label],
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
    if 'masks' in found:
        nothing = empty((shape[0], shape[1]))
        for box, mask in zip(boxes, found.masks, strict=True):
            box['segmentation'] = mask or nothing
    return boxes


@dataclass
class Results:
    """Detections and errors of all images.

    Attributes:
        categories: Category id of each label.
        boxes: Receives the detections, in COCO's result format.
        images: Processed images, in COCO's format.
        missing: Names of images whose file does not exist.
        failures: A line for each other image that failed.
        undrawn: A line for each processed image whose picture failed.
        num_bare: Number of pictures without a box.
        turned: Names of images that the loader turned or mirrored by their
            EXIF orientation without a change of size.
        notes: Notes on possible mistakes.
    """

    categories: Sequence[int | str]
    boxes: RowsFile
    images: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    undrawn: list[str] = field(default_factory=list)
    num_bare: int = 0
    turned: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def num_failed(self) -> int:
        return len(self.missing) + len(self.failures)

    def rows(
        self, image: ListedImage, shape: tuple[int, ...], found: Any
    ) -> list[str]:
        """Encode detections in an image of shape (H, W, ...) as JSON."""
        boxes = coco_results(image, shape, found, self.categories)
        return list(map(json.dumps, boxes))

    def add(
        self, image: ListedImage, shape: tuple[int, ...], rows: list[str]
    ) -> None:
        """Add an image of shape (H, W, ...) and its `rows`.

        Raises:
            OSError: The rows cannot be written.
        """
        self.boxes.extend(rows)
        self.images.append(
            dict(
                id=image.image_id,
                file_name=image.file_name,
                height=shape[0],
                width=shape[1],
            )
        )

    def coco(self, categories: Sequence[dict]) -> dict[str, Sequence]:
        """Content of a COCO file of the images, without annotations."""
        return dict(images=self.images, annotations=[], categories=categories)


def images_file(results: Path) -> Path:
    """File next to a result file for its images and categories."""
    return results.with_suffix('.images.json')

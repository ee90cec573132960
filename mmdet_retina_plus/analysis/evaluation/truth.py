"""Objects of a COCO annotation file, by image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmdet_retina_plus.common.annotation_files import read_json
from mmdet_retina_plus.common.coco_format import check_coco, has_box
from mmdet_retina_plus.common.text import some

from .masks import MaskError, run_lengths
from .matching import SIZES, Objects

BOXES, MASKS = 'bbox', 'segm'
"""Names of metrics in mmdet."""


class Truth:
    """Images and objects to compare detections with.

    Objects of other categories or in unlisted images are left out, as in
    pycocotools.

    Attributes:
        path: Annotation file.
        categories: Category id of each label, ascending.
        classes: Name of each class.
        images: Image by id, ids ascending.
        numbers: Index of each id in `images`.

    Args:
        path: Annotation file.
        coco: Content of the file, checked by `read_truth`.
        categories: Ids to keep. None: all.

    Raises:
        ValueError: There are no such objects, an object has no box, or all
            areas are out of range.
    """

    def __init__(
        self,
        path: Path,
        coco: Mapping[str, Any],
        categories: Sequence | None = None,
    ) -> None:
        names = {item['id']: item['name'] for item in coco['categories']}
        self.path = path
        kept_ids = names if categories is None else categories
        self.categories = sorted(kept_ids, key=id_order)
        self.classes = [names[number] for number in self.categories]
        self.labels = {item: n for n, item in enumerate(self.categories)}
        self.images = {
            item['id']: item
            for item in sorted(
                coco['images'], key=lambda item: id_order(item['id'])
            )
        }
        self.numbers = {item: n for n, item in enumerate(self.images)}
        self.objects: dict[Any, list[Mapping]] = {}
        kept = [
            item
            for item in coco['annotations']
            if item['category_id'] in self.labels
            and item['image_id'] in self.images
        ]
        if all(item.get('iscrowd') for item in kept):
            raise ValueError(
                f'{path} has no objects of {some(self.classes)}, so there is '
                'nothing to compare detections with: name the annotation file '
                'of these images'
            )
        for item in kept:
            if not has_box(item):
                raise ValueError(
                    f'{path}: the annotation {item["id"]} has no bbox [x, y, '
                    'width, height] of finite numbers'
                )
            self.objects.setdefault(item['image_id'], []).append(item)
        least, largest = SIZES['all']
        if not any(
            least <= item['area'] <= largest
            for item in kept
            if not item.get('iscrowd')
        ):
            raise ValueError(
                f'{path}: no object has an area between {least} and '
                f'{largest:.0e}, so COCO counts none: write areas in pixels'
            )
        self.has_masks = all(item.get('segmentation') for item in kept)

    def size(self, image_id: Any) -> tuple[int, int]:
        """Height and width of an image."""
        image = self.images[image_id]
        return int(image['height']), int(image['width'])

    def of_image(self, image_id: Any, metric: str) -> Objects:
        """Objects of an image, with boxes or masks.

        Raises:
            ValueError: An object has no valid mask.
        """
        items = self.objects.get(image_id, [])
        if metric == BOXES:
            shapes: Any = np.array([item['bbox'] for item in items], float)
            shapes = shapes.reshape(-1, 4)
        else:
            shapes = self.masks(image_id, items)
        return Objects(
            np.array([self.labels[x['category_id']] for x in items], int),
            shapes,
            np.array([item['area'] for item in items], float),
            np.array([bool(item.get('iscrowd')) for item in items], bool),
        )

    def masks(
        self, image_id: Any, items: Sequence[Mapping]
    ) -> list[dict[str, Any]]:
        """Masks of the objects of an image."""
        segmentations = [item['segmentation'] for item in items]
        try:
            return run_lengths(segmentations, *self.size(image_id))
        except MaskError as error:
            raise ValueError(
                f'{self.path}: the annotation {items[error.index]["id"]} '
                f'{error}; --metric bbox evaluates boxes only'
            ) from error


def id_order(number: Any) -> tuple[bool, Any]:
    """Key to sort ids, which may be numbers and strings."""
    return isinstance(number, str), number


def read_truth(path: Path) -> dict[str, Any]:
    """Read an annotation file.

    Raises:
        ValueError: The file is missing or not in COCO's format.
    """
    coco = read_json(str(path))
    check_coco(path, coco)
    for key in ('images', 'categories'):
        if not coco[key]:
            raise ValueError(f'{path} lists no {key}')
    return coco

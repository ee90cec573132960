"""One data set of a config and its annotations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mmdet_retina_plus.common.coco_format import has_box

from .findings import Finding


@dataclass(frozen=True)
class Split:
    """One data set of a config, with the content of its annotation file.

    Attributes:
        name: 'train', 'val', or such a name and a number.
        coco: Parsed annotation file.
        image_dir: What the file's image names are relative to.
        classes: As the data set takes them: from `metainfo` or built in.
        filter_empty: Whether training leaves images without objects out.
        pipeline: Transforms.
    """

    name: str
    coco: Mapping
    image_dir: Path
    classes: Sequence[str]
    filter_empty: bool = False
    pipeline: Sequence[Mapping] = ()

    @property
    def subject(self) -> str:
        return f'{self.name} data'

    @property
    def scored(self) -> bool:
        """Whether pycocotools reads the file, to score predictions."""
        return self.name.startswith(('val', 'test'))

    @cached_property
    def categories(self) -> list[str]:
        return [category['name'] for category in self.coco['categories']]

    @cached_property
    def image_sizes(self) -> dict[int, tuple[int, int]]:
        """Width and height by image id."""
        return {
            image['id']: (image['width'], image['height'])
            for image in self.coco['images']
        }

    @cached_property
    def objects(self) -> list[Mapping]:
        """Annotations of known images that have a box of four numbers."""
        return [
            annotation
            for annotation in self.coco['annotations']
            if annotation['image_id'] in self.image_sizes
            and has_box(annotation)
        ]

    @cached_property
    def boxes(self) -> np.ndarray:
        """Left, top, right, bottom of the objects, shape (N, 4)."""
        boxes = np.array([x['bbox'] for x in self.objects], float)
        boxes = boxes.reshape(-1, 4)
        return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])

    @cached_property
    def sizes_of_objects_images(self) -> np.ndarray:
        """Width and height of every object's image, shape (N, 2)."""
        sizes = [self.image_sizes[x['image_id']] for x in self.objects]
        return np.array(sizes, float).reshape(-1, 2)

    @cached_property
    def usable(self) -> np.ndarray:
        """Which objects mmdet loads: at least a pixel, and in the image."""
        inside = np.clip(
            self.boxes, 0, np.tile(self.sizes_of_objects_images, 2)
        )
        visible = (inside[:, 2:] > inside[:, :2]).all(axis=1)
        area = np.array([x['area'] for x in self.objects], float)
        long_enough = (self.boxes[:, 2:] - self.boxes[:, :2] >= 1).all(axis=1)
        return visible & long_enough & (area > 0)

    def warn(self, message: str, way_out: str) -> list[Finding]:
        return [Finding('warning', self.subject, message, way_out)]

    def fail(self, message: str, way_out: str) -> list[Finding]:
        return [Finding('error', self.subject, message, way_out)]

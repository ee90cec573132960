"""Annotations of a COCO file as arrays, and which of them mmdet trains on."""

from collections.abc import Mapping, Sequence, Set
from functools import cached_property
from itertools import chain, repeat
from typing import Any

import numpy as np

from .coco_format import has_box

NOT_FOUND = -1
NEGATIVE = 'of negative width or height'
BEYOND = 'in images that indices leaves out'


def box_array(boxes: Sequence[Any]) -> np.ndarray:
    """Convert boxes to (N, 4), NaN for one without four finite numbers."""
    plain = {type(box) for box in boxes} <= {list} and {
        len(box) for box in boxes
    } <= {4}
    if plain and set(map(type, chain.from_iterable(boxes))) <= {int, float}:
        try:
            array = np.array(boxes, float).reshape(-1, 4)
            array[~np.isfinite(array).all(axis=1)] = np.nan
            return array
        except OverflowError:  # An integer of hundreds of digits.
            pass
    rows = [box if has_box({'bbox': box}) else [np.nan] * 4 for box in boxes]
    return np.array(rows, float).reshape(-1, 4)


def shift_of(key: str, column: Sequence, there: Set) -> int:
    """Return what to add to ids that are off by one, 0 if they are not."""
    if not {*map(type, column)} <= {int}:
        return 0
    seen = set(column)
    for shift in (1, -1):
        moved = {number + shift for number in seen}
        # A gap in the list would look the same, and a shift would exchange
        # all classes.
        if key == 'category':
            fits = min(seen) == 0 or moved == there
        else:
            fits = 0 in (min(seen), min(moved))
        if fits and moved <= there:
            return shift
    return 0


class CocoColumns:
    """Annotations of a parsed annotation file, as a data set reads them.

    Attributes:
        coco: Parsed annotation file.
        classes: Names of the categories that are trained.
        kept_images: Ids of the images that mmdet's filters keep; None: all.
        indexed: Ids of the images that `indices` selects; None: all.
    """

    coco: Mapping
    classes: Sequence[str]
    kept_images: frozenset | None = None
    indexed: frozenset | None = None

    @cached_property
    def categories(self) -> list[str]:
        return [category['name'] for category in self.coco['categories']]

    @property
    def images(self) -> list[Mapping]:
        return self.coco['images']

    @property
    def annotations(self) -> list[Mapping]:
        return self.coco['annotations']

    def column(self, key: str, otherwise: Any = None) -> list:
        """Values of a key in all annotations."""
        return [
            annotation.get(key, otherwise) for annotation in self.annotations
        ]

    @cached_property
    def ids(self) -> np.ndarray:
        """Ids of the annotations; they may be strings."""
        ids = np.empty(len(self.annotations), object)
        ids[:] = self.column('id')
        return ids

    @cached_property
    def image_of(self) -> np.ndarray:
        """Index of each annotation's image, `NOT_FOUND` if unknown."""
        places = {image['id']: at for at, image in enumerate(self.images)}
        found = map(places.get, self.column('image_id'), repeat(NOT_FOUND))
        return np.fromiter(found, int, len(self.annotations))

    @cached_property
    def label_of(self) -> np.ndarray:
        """Label of each annotation, as mmdet numbers them."""
        labels = {
            number: label
            for label, number in enumerate(
                category['id']
                for category in self.coco['categories']
                if category['name'] in self.classes
            )
        }
        found = map(labels.get, self.column('category_id'), repeat(NOT_FOUND))
        return np.fromiter(found, int, len(self.annotations))

    @cached_property
    def image_sizes(self) -> np.ndarray:
        """Width and height of each image, shape (images, 2)."""
        sizes = [(image['width'], image['height']) for image in self.images]
        return np.array(sizes, float).reshape(-1, 2)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Width and height of each annotation's image, NaN if unknown."""
        known = self.image_of != NOT_FOUND
        sizes = np.full((len(known), 2), np.nan)
        sizes[known] = self.image_sizes[self.image_of[known]]
        return sizes

    @cached_property
    def boxes(self) -> np.ndarray:
        """Left, top, right, bottom of each annotation, NaN without a box."""
        boxes = box_array(self.column('bbox'))
        return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])

    @cached_property
    def areas(self) -> np.ndarray:
        return np.array(self.column('area', 0), float)

    @cached_property
    def crowd(self) -> np.ndarray:
        return np.array(self.column('iscrowd'), object).astype(bool)

    @cached_property
    def images_in(self) -> np.ndarray:
        """Flags of the images left by the data set's filters."""
        return self.images_among(self.kept_images) & self.images_among(
            self.indexed
        )

    def images_among(self, ids: frozenset | None) -> np.ndarray:
        """Flags of the images with one of these ids; None: all images."""
        if ids is None:
            return np.ones(len(self.images), bool)
        kept = (image['id'] in ids for image in self.images)
        return np.fromiter(kept, bool, len(self.images))

    def objects_among(self, ids: frozenset | None) -> np.ndarray:
        """Flags of the annotations of images with one of these ids."""
        known = self.image_of != NOT_FOUND
        found = np.zeros(len(known), bool)
        found[known] = self.images_among(ids)[self.image_of[known]]
        return found

    @cached_property
    def lost_by(self) -> dict[str, np.ndarray]:
        """Flags of annotations not trained on, by mmdet's first reason."""
        known = self.image_of != NOT_FOUND
        with np.errstate(invalid='ignore'):  # NaN compares as False.
            inside = np.clip(self.boxes, 0, np.tile(self.sizes, 2))
            seen = (inside[:, 2:] > inside[:, :2]).all(axis=1)
            extent = self.boxes[:, 2:] - self.boxes[:, :2]
            negative = (extent < 0).any(axis=1)
            thin = (extent < 1).any(axis=1) | (self.areas <= 0)
        reasons = {
            'of an unknown image': ~known,
            'without a bbox': np.isnan(self.boxes).any(axis=1),
            'marked "ignore"': np.array(self.column('ignore'), object).astype(
                bool
            ),
            NEGATIVE: negative,
            'of negative area': self.areas < 0,
            'without area or thinner than a pixel': thin,
            'outside of their image': ~seen,
            'of another category': self.label_of == NOT_FOUND,
            BEYOND: ~self.objects_among(self.indexed),
            'in images that are left out': ~self.objects_among(
                self.kept_images
            ),
            'marked "iscrowd"': self.crowd,
            'without a mask': self.maskless,
        }
        left = np.ones(len(known), bool)
        for reason, lost in reasons.items():
            reasons[reason] = lost & left
            left &= ~lost
        return reasons

    @property
    def maskless(self) -> np.ndarray:
        """Flags of annotations lost for lack of a mask; none here."""
        return np.zeros(len(self.annotations), bool)

    @cached_property
    def usable(self) -> np.ndarray:
        """Flags of the annotations trained on as objects."""
        return ~np.any(list(self.lost_by.values()), axis=0)

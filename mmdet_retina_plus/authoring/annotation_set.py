"""COCO files for `retina-plus init`, with errors of one line."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mmdet_retina_plus.common.annotation_files import (
    contents,
    existing_parent,
    missing_file,
    read_json,
)
from mmdet_retina_plus.common.coco_columns import CocoColumns, shift_of
from mmdet_retina_plus.common.coco_format import check_coco
from mmdet_retina_plus.common.suggestions import did_you_mean
from mmdet_retina_plus.common.text import quantity, some

from .other_formats import conversion, of_json


@dataclass(frozen=True, eq=False)
class AnnotationSet(CocoColumns):
    """A COCO file and the folder of its images.

    Attributes:
        path: Path of the file, which may not be written yet.
        image_dir: Folder that the file names are relative to.
        coco: Content of the file.
        classes: Names of all categories.
    """

    path: Path
    image_dir: Path
    coco: Mapping
    classes: Sequence[str]

    @cached_property
    def presence(self) -> np.ndarray:
        """Whether an image has an object of a category, shape (N, C)."""
        found = np.zeros((len(self.images), len(self.classes)), bool)
        chosen = self.usable
        found[self.image_of[chosen], self.label_of[chosen]] = True
        return found

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of usable objects by category."""
        numbers = np.bincount(
            self.label_of[self.usable], minlength=len(self.classes)
        )
        return dict(zip(self.classes, numbers.tolist(), strict=True))

    @cached_property
    def masked(self) -> int:
        """Number of usable objects with a mask."""
        masks = self.column('segmentation')
        return sum(is_mask(masks[at]) for at in np.flatnonzero(self.usable))

    @property
    def objects(self) -> int:
        """Number of usable objects."""
        return int(self.usable.sum())

    def part(self, chosen: np.ndarray, path: Path) -> 'AnnotationSet':
        """Select some of the images and their annotations.

        Args:
            chosen: Flags of the images, shape (N,).
            path: Path of the new file.
        """
        known = self.image_of >= 0
        kept = np.zeros(len(known), bool)
        kept[known] = chosen[self.image_of[known]]
        coco = dict(
            self.coco,
            images=[self.images[at] for at in np.flatnonzero(chosen)],
            annotations=numbered(
                [self.annotations[at] for at in np.flatnonzero(kept)]
            ),
        )
        return AnnotationSet(path, self.image_dir, coco, self.classes)

    def with_classes(
        self, classes: Sequence[str], path: Path
    ) -> 'AnnotationSet':
        """Reorder the categories so that they start with these classes.

        mmdet numbers labels by the categories of each file.

        Args:
            classes: Classes of training. Missing ones get a new id.
            path: Path of the new file.
        """
        there = {x['name']: x for x in self.coco['categories']}
        ids = [x['id'] for x in there.values()]
        free = 1 + max((x for x in ids if isinstance(x, int)), default=0)
        first = []
        for name in classes:
            if name not in there:
                first.append({'id': free, 'name': name})
                free += 1
            else:
                first.append(there.pop(name))
        coco = dict(
            self.coco,
            annotations=numbered(self.annotations),
            categories=[*first, *there.values()],
        )
        names = [x['name'] for x in coco['categories']]
        return AnnotationSet(path, self.image_dir, coco, names)


def is_mask(segmentation: Any) -> bool:
    """Whether a segmentation is more than empty or a line.

    Some tools write [[]] or two corners for an object without a mask.
    Segmentations in other formats count, so that doctor reports them.
    """
    if not isinstance(segmentation, list):
        return bool(segmentation)
    return any(
        not isinstance(polygon, list)
        or len(polygon) >= 6
        or any(isinstance(point, list) for point in polygon)
        for polygon in segmentation
    )


def numbered(annotations: Sequence[Mapping]) -> list[Mapping]:
    """Renumber annotations if an id is 0, which means none to pycocotools."""
    if all(x['id'] != 0 for x in annotations):
        return list(annotations)
    return [dict(x, id=number) for number, x in enumerate(annotations, 1)]


def read_set(path: Path, image_dir: Path) -> AnnotationSet:
    """Read a COCO file and look for its images.

    Raises:
        ValueError: The file is not COCO, none of its objects would train, or
            none of its images is in the folder; with the fix.
    """
    if image_dir.is_file():
        raise ValueError(
            f'{image_dir} is a file: give the annotation file first, then the '
            'folder of the images'
        )
    if not image_dir.is_dir():
        parent = existing_parent(image_dir)
        lost = image_dir.absolute().relative_to(parent).parts[0]
        folders = [x.name for x in parent.iterdir() if x.is_dir()]
        raise ValueError(
            f'There is no folder {image_dir} with images: {contents(parent)}'
            f'{did_you_mean(lost, folders)}'
        )
    if not path.exists():
        raise missing_file(str(path))
    hint = conversion(path, image_dir)
    if hint:
        raise ValueError(f'{path} is not COCO JSON but {hint}')
    coco = read_json(str(path))
    hint = of_json(coco, path, image_dir)
    if hint:
        raise ValueError(f'{path} is not COCO JSON but {hint}')
    check_coco(path, coco)
    check_content(path, coco)
    names = [category['name'] for category in coco['categories']]
    found = AnnotationSet(path, image_dir, coco, names)
    check_objects(found)
    check_images(found)
    return found


def check_content(path: Path, coco: Mapping) -> None:
    """Refuse a file without images or objects, or with duplicate names."""
    for key in ('images', 'annotations', 'categories'):
        if not coco[key]:
            raise ValueError(
                f'{path} lists no {key}: export it with the objects'
            )
    counts = Counter(category['name'] for category in coco['categories'])
    for name, count in counts.items():
        if count > 1:
            ids = [x['id'] for x in coco['categories'] if x['name'] == name]
            raise ValueError(
                f'{path}: {count} categories are called {name!r}, ids '
                f'{some(ids)}: give each a unique name, or all of their '
                'objects the same id'
            )


def check_objects(found: AnnotationSet) -> None:
    """Refuse a file without usable objects."""
    if found.objects:
        return
    reasons = [
        f'{lost.sum()} {reason}'
        for reason, lost in found.lost_by.items()
        if lost.any()
    ]
    raise ValueError(
        f'{found.path}: none of {quantity(len(found.annotations), "object")} '
        f'would train: {", ".join(reasons)}{unknown_ids(found.coco)}'
    )


def unknown_ids(coco: Mapping) -> str:
    """Hint at ids of images or categories that their list does not have."""
    for key, items in (('image', 'images'), ('category', 'categories')):
        column = [x[f'{key}_id'] for x in coco['annotations']]
        ids = [x['id'] for x in coco[items]]
        there = set(ids)
        lost = [x for x in column if x not in there]
        if not lost:
            continue
        shift = shift_of(key, column, there)
        if shift:
            fix = f'add {shift} to every "{key}_id" of the annotations'
        elif str(lost[0]) in map(str, ids):
            fix = 'use one type in both'
        else:
            fix = f'write the ids of {items} there'
        return (
            f'; {key}_id is {lost[0]!r} in annotations, but {items} have '
            f'ids such as {ids[0]!r}: {fix}'
        )
    return ''


def check_images(found: AnnotationSet) -> None:
    """Refuse a folder without any of the images."""
    folder = found.image_dir
    names = [image['file_name'] for image in found.images]
    if any((folder / name).is_file() for name in names):
        return
    name = names[0]
    plain = name.replace('\\', '/')
    places = [
        folder.parent,
        *sorted(x for x in folder.glob('*') if x.is_dir()),
    ]
    near = next((x for x in places if (x / name).is_file()), None)
    base = plain.rpartition('/')[2]
    if near is not None:
        hint = f': give {near}'
    elif (folder / plain).is_file():
        hint = ': write file_name with / instead of \\'
    elif (folder / base).is_file():
        hint = f', but {base} is: write file_name without a folder'
    else:
        there = [path.name for path in folder.iterdir()]
        hint = did_you_mean(base, there) or f'; {contents(folder)}'
    raise ValueError(
        f'None of {quantity(len(names), "image")} of {found.path} is in '
        f'{folder}, such as {name}{hint}'
    )

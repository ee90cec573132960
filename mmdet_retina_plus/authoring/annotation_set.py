"""A COCO file as `retina-plus init` takes it, or one line why it does not."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mmdet_retina_plus.common.annotation_files import (
    contents,
    existing_parent,
    missing_file,
    read_json,
)
from mmdet_retina_plus.common.coco_columns import CocoColumns
from mmdet_retina_plus.common.coco_format import check_coco
from mmdet_retina_plus.common.suggestions import did_you_mean
from mmdet_retina_plus.common.text import quantity, some

from .other_formats import conversion, of_json


@dataclass(frozen=True, eq=False)
class AnnotationSet(CocoColumns):
    """A COCO file and the folder of its images.

    Attributes:
        path: The file; of one that is yet to be written, where.
        image_dir: What its image names are relative to.
        coco: Its content.
        classes: Names of all its categories.
    """

    path: Path
    image_dir: Path
    coco: Mapping
    classes: Sequence[str]

    @cached_property
    def presence(self) -> np.ndarray:
        """Which images hold an object of which category, shape (N, C)."""
        found = np.zeros((len(self.images), len(self.classes)), bool)
        chosen = self.usable
        found[self.image_of[chosen], self.label_of[chosen]] = True
        return found

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of objects that train, by category."""
        numbers = np.bincount(
            self.label_of[self.usable], minlength=len(self.classes)
        )
        return dict(zip(self.classes, numbers.tolist(), strict=True))

    @cached_property
    def masked(self) -> int:
        """Number of objects that train and have a mask."""
        masks = self.column('segmentation')
        return sum(bool(masks[at]) for at in np.flatnonzero(self.usable))

    @property
    def objects(self) -> int:
        """Number of objects that train."""
        return int(self.usable.sum())

    def part(self, chosen: np.ndarray, path: Path) -> 'AnnotationSet':
        """A file with some of the images and their annotations.

        Args:
            chosen: Which images, shape (N,).
            path: Where the file will be.
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
        """A file whose categories begin with these classes, in their order.

        mmdet numbers labels by the categories of each file.

        Args:
            classes: Of training. Those that the file lacks get a new id.
            path: Where the file will be.
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


def numbered(annotations: Sequence[Mapping]) -> list[Mapping]:
    """Annotations without an id of 0, which pycocotools takes for none."""
    if all(x['id'] != 0 for x in annotations):
        return list(annotations)
    return [dict(x, id=number) for number, x in enumerate(annotations, 1)]


def read_set(path: Path, image_dir: Path) -> AnnotationSet:
    """Read a COCO file and look for its images.

    Raises:
        ValueError: It is none, none of its objects would train, or none of
            its images is in the folder; with the way out.
    """
    if image_dir.is_file():
        raise ValueError(
            f'{image_dir} is a file: give the annotation file first, then the '
            'folder of the images'
        )
    if not image_dir.is_dir():
        raise ValueError(
            f'There is no folder {image_dir} with images: '
            f'{contents(existing_parent(image_dir))}'
        )
    if not path.exists():
        raise missing_file(str(path))
    hint = conversion(path, image_dir)
    if hint:
        raise ValueError(f'{path} is no COCO JSON but {hint}')
    coco = read_json(str(path))
    hint = of_json(coco, path, image_dir)
    if hint:
        raise ValueError(f'{path} is no COCO JSON but {hint}')
    check_coco(path, coco)
    check_content(path, coco)
    names = [category['name'] for category in coco['categories']]
    found = AnnotationSet(path, image_dir, coco, names)
    check_objects(found)
    check_images(found)
    return found


def check_content(path: Path, coco: Mapping) -> None:
    """Refuse a file without images or objects, or with a name twice."""
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
                f'{some(ids)}: give each a name of its own, or one id to all '
                'of their objects'
            )


def check_objects(found: AnnotationSet) -> None:
    """Refuse a file of which no object would train."""
    if found.objects:
        return
    reasons = [
        f'{lost.sum()} {reason}'
        for reason, lost in found.lost_by.items()
        if lost.any()
    ]
    raise ValueError(
        f'{found.path}: none of {quantity(len(found.annotations), "object")} '
        f'would train, {", ".join(reasons)}{of_other_type(found.coco)}'
    )


def of_other_type(coco: Mapping) -> str:
    """A hint at ids that would be found as numbers, or as texts."""
    first = coco['annotations'][0]
    for key, items in (('image_id', 'images'), ('category_id', 'categories')):
        ids = [item['id'] for item in coco[items]]
        value = first[key]
        if value not in ids and str(value) in map(str, ids):
            return (
                f': {key} is {value!r} in annotations, {ids[0]!r} or the like '
                f'in {items}, write one type in both'
            )
    return ''


def check_images(found: AnnotationSet) -> None:
    """Refuse a folder that holds none of the images."""
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
        hint = ': write file_name with / in place of \\'
    elif (folder / base).is_file():
        hint = f', but {base} is: write file_name without its folder'
    else:
        there = [path.name for path in folder.iterdir()]
        hint = did_you_mean(base, there) or f'; {contents(folder)}'
    raise ValueError(
        f'None of {quantity(len(names), "image")} of {found.path} is in '
        f'{folder}, as {name}{hint}'
    )

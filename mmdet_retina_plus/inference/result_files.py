"""Result files, with the images and categories listed next to them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmdet_retina_plus.common.annotation_files import read_json
from mmdet_retina_plus.common.text import some

from .results import images_file


class ResultFile(NamedTuple):
    """Detections of a detector.

    Attributes:
        path: Path of the file.
        records: Detections in COCO's result format.
        images: Id to file name, if listed next to the file; else empty.
        categories: Id to name, if listed next to the file; else empty.
        coco: Content of the file that lists both; else empty.
    """

    path: Path
    records: list[dict]
    images: Mapping[Any, str] = {}
    categories: Mapping[Any, str] = {}
    coco: Mapping[str, Any] = {}

    @property
    def image_ids(self) -> list:
        """Ids of processed images, or else of those with detections."""
        return list(self.images) or self.values('image_id')

    @property
    def category_ids(self) -> list:
        """Ids of the detector's categories, or else of its detections'."""
        return list(self.categories) or self.values('category_id')

    def values(self, key: str) -> list:
        """Distinct values of an id, in the order of the file."""
        return list(dict.fromkeys(record[key] for record in self.records))


def with_names(path: Path, records: list[dict]) -> ResultFile:
    """Add the names that `retina-plus predict` wrote next to detections.

    Raises:
        ValueError: The file of names cannot be read, or belongs to other
            results.
    """
    beside = images_file(path)
    if not beside.is_file():
        return ResultFile(path, records)
    coco = read_json(str(beside))
    try:
        images = {item['id']: item['file_name'] for item in coco['images']}
        categories = {item['id']: item['name'] for item in coco['categories']}
    except (KeyError, TypeError) as error:
        raise ValueError(
            f'Cannot read {beside}, which lists the images and categories of '
            f'{path}: {error!r}'
        ) from error
    file = ResultFile(path, records, images, categories, coco)
    for key, known in (('image_id', images), ('category_id', categories)):
        unknown = [value for value in file.values(key) if value not in known]
        if unknown:
            raise ValueError(
                f'{path} has {key} {some(unknown)}, which {beside} does not '
                'list: it belongs to other results, so rename one of them'
            )
    return file


def listed_by_any(files: Sequence[ResultFile]) -> dict[str, Any]:
    """Join the images and categories listed next to several files.

    Returns:
        A COCO file without annotations; empty if an image or category of a
        detection is listed nowhere.
    """
    coco: dict[str, Any] = dict(annotations=[])
    for what, key in (('images', 'image_id'), ('categories', 'category_id')):
        items: dict[Any, Mapping] = {}
        for file in files:
            for item in file.coco.get(what, ()):
                items.setdefault(item['id'], item)
        if not items or any(
            number not in items
            for file in files
            for number in file.values(key)
        ):
            return {}
        coco[what] = list(items.values())
    return coco

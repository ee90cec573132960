"""A result file, and what `retina-plus predict` wrote beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmdet_retina_plus.common.annotation_files import read_json
from mmdet_retina_plus.common.text import some

from .results import images_file


class ResultFile(NamedTuple):
    """Detections of a detector.

    Attributes:
        path: Of the file.
        records: Detections in COCO's result format.
        images: Id to file name, as listed beside the file; empty if not.
        categories: Id to name, as listed beside the file; empty if not.
    """

    path: Path
    records: list[dict]
    images: Mapping[Any, str] = {}
    categories: Mapping[Any, str] = {}

    @property
    def image_ids(self) -> list:
        """Images that were seen, or else those with detections."""
        return list(self.images) or self.values('image_id')

    @property
    def category_ids(self) -> list:
        """Categories of the detector, or else those of its detections."""
        return list(self.categories) or self.values('category_id')

    def values(self, key: str) -> list:
        """Different values of an id, in the order of the file."""
        return list(dict.fromkeys(record[key] for record in self.records))


def with_names(path: Path, records: list[dict]) -> ResultFile:
    """Detections with what `retina-plus predict` wrote beside them.

    Raises:
        ValueError: That file cannot be read, or is of other results.
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
    file = ResultFile(path, records, images, categories)
    for key, known in (('image_id', images), ('category_id', categories)):
        unknown = [value for value in file.values(key) if value not in known]
        if unknown:
            raise ValueError(
                f'{path} has {key} {some(unknown)}, which {beside} does not '
                'list: it is of other results, rename one of them'
            )
    return file

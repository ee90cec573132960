"""Result files in COCO's format: a list of detections."""

from pathlib import Path
from typing import Any

from .annotation_files import read_json
from .coco_format import is_id

IDS = {'image_id': (is_id, 'an id'), 'category_id': (is_id, 'an id')}
"""What every detection needs, for `coco_format.entry_error`."""


def read_list(path: Path) -> list[Any]:
    """What a result file lists, not yet checked.

    Raises:
        ValueError: It cannot be read, or holds no list.
    """
    records = read_json(str(path))
    if not isinstance(records, list):
        raise ValueError(
            f'{path} holds no list of detections {{image_id, category_id, '
            'bbox, score}: name a result file, as `retina-plus predict` or '
            'mmdet with outfile_prefix write it'
        )
    return records

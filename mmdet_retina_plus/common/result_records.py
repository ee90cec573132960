"""Result files in COCO's format: a list of detections."""

from json import JSONDecoder
from pathlib import Path
from typing import Any

from .annotation_files import read_json
from .coco_format import is_detection, is_id

IDS = {'image_id': (is_id, 'an id'), 'category_id': (is_id, 'an id')}
"""Required fields of a detection, for `coco_format.entry_error`."""

ITEM = 2**24
"""Characters to read for one detection; enough for a large image's mask."""


def read_list(path: Path) -> list[Any]:
    """Read the list in a result file, without checking its items.

    Raises:
        ValueError: The file cannot be read or holds no list.
    """
    records = read_json(str(path))
    if not isinstance(records, list):
        raise ValueError(
            f'{path} holds no list of detections {{image_id, category_id, '
            'bbox, score}: name a result file of `retina-plus predict` or of '
            'mmdet with outfile_prefix'
        )
    return records


def check_replaceable(path: Path) -> None:
    """Refuse to replace a file whose first item is not a detection.

    Raises:
        ValueError: With the fix.
    """
    if not path.is_file():
        return
    with path.open(encoding='utf-8', errors='replace') as file:
        begin = file.read(ITEM).strip()
    items = begin.removeprefix('[').lstrip()
    try:
        first, _ = JSONDecoder().raw_decode(items)
    except ValueError:
        first = None
    if begin and items != ']' and not is_detection(first):
        raise ValueError(
            f'{path} is not a result file and is not replaced: name another '
            '--out'
        )

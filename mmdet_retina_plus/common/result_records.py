"""Result files in COCO's format: a list of detections."""

from json import JSONDecoder
from pathlib import Path
from typing import Any

from .annotation_files import read_json
from .coco_format import is_detection, is_id

IDS = {'image_id': (is_id, 'an id'), 'category_id': (is_id, 'an id')}
"""What every detection needs, for `coco_format.entry_error`."""

ITEM = 2**24
"""More characters than a detection has, with the mask of a large image."""


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


def check_replaceable(path: Path) -> None:
    """Refuse to replace a file that is no result file, by its first item.

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
            f'{path} is no result file, so it is not replaced: name another '
            '--out'
        )

"""Check that a parsed annotation file is in COCO format."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from .annotation_files import UnreadableError
from .numbers import is_finite
from .text import some


def has_box(annotation: Mapping) -> bool:
    box = annotation.get('bbox')
    return (
        isinstance(box, list | tuple)
        and len(box) == 4
        and all(map(is_finite, box))
    )


def is_size(value: object) -> bool:
    return is_finite(value) and value > 0


def is_text(value: object) -> bool:
    return isinstance(value, str) and value != ''


def is_id(value: object) -> bool:
    return is_finite(value) or is_text(value)


FIELDS: dict[str, dict[str, tuple[Callable[[object], bool], str]]] = {
    'images': {
        'id': (is_id, 'an id'),
        'file_name': (is_text, 'a text'),
        'width': (is_size, 'a number above 0'),
        'height': (is_size, 'a number above 0'),
    },
    'annotations': {
        'id': (is_id, 'an id'),
        'image_id': (is_id, 'an id'),
        'category_id': (is_id, 'an id'),
        'area': (is_finite, 'a number'),
    },
    'categories': {'id': (is_id, 'an id'), 'name': (is_text, 'a text')},
}
"""Required fields of each list: a test of the value, and what it accepts."""


def entry_error(item: object, fields: Mapping) -> str:
    """Describe what is wrong with an entry of a list; '' if nothing."""
    if not isinstance(item, Mapping):
        return f' is {item!r}, not an object'
    if not fields.keys() <= item.keys():
        return f' has no {some(sorted(fields.keys() - item.keys()))}'
    for field, (fits, wanted) in fields.items():
        if not fits(item[field]):
            return f' has {field} {item[field]!r}, not {wanted}'
    return ''


def all_fit(items: list, fields: Mapping) -> bool:
    """Whether all entries pass their tests, by the extremes of each column.

    A fast check: False may also mean that each entry has to be checked.
    """
    if not {*map(type, items)} <= {dict}:
        return False
    for field, (fits, _) in fields.items():
        column = [item.get(field) for item in items]
        kinds = {*map(type, column)}
        if kinds <= {int, float}:
            # Infinity and NaN propagate to the sum.
            plain = is_finite(sum(column))
        else:
            plain = kinds == {str}
        if not (plain and fits(min(column)) and fits(max(column))):
            return False
    return True


WRITERS = (
    ({'shapes', 'imagePath'}, 'LabelMe'),
    ({'_via_img_metadata'}, 'VIA'),
    ({'regions', 'filename'}, 'VIA'),
    ({'objects', 'size', 'tags'}, 'Supervisely'),
    ({'samples'}, 'FiftyOne'),
    ({'bounding_box', 'label'}, 'FiftyOne'),
    ({'image', 'annotations'}, 'CreateML'),
    ({'data', 'annotations'}, 'Label Studio'),
    ({'data', 'completions'}, 'Label Studio'),
)
"""Keys of other tools' files, and the tool."""
EXPORTS = {
    'LabelMe': 'export it as COCO with labelme2coco',
    'VIA': 'export it as COCO there, by Export Annotations (COCO format)',
    'Supervisely': 'export it as COCO there, by Export to COCO',
    'FiftyOne': 'export it as COCO there, as COCODetectionDataset',
    'CreateML': 'export it as COCO there',
    'Label Studio': 'export it as COCO there',
}


def writer_of(content: object) -> str:
    """Name the tool whose own format parsed JSON has; '' if none is known."""
    first = content
    if isinstance(content, list) and content:
        first = content[0]
    elif isinstance(content, Mapping) and 'images' in content:
        return ''
    entries = [first]
    if isinstance(first, Mapping) and first:
        entries.append(next(iter(first.values())))
    for entry in entries:
        for keys, tool in WRITERS:
            if isinstance(entry, Mapping) and keys <= entry.keys():
                return tool
    return ''


RENUMBER = {
    'images': (
        'give every image its own id; if files were merged, add a number '
        'to the "id" of the images of the second file and to the '
        '"image_id" of its annotations'
    ),
    'annotations': 'number the annotations: "id": 1, 2, 3, …',
    'categories': (
        'give every category its own id, and write it into the '
        '"category_id" of its annotations'
    ),
}
"""Fixes for duplicate ids, by the list that has them."""


ADD = {
    'area': 'write "area": width * height of bbox into every annotation',
    'id': RENUMBER['annotations'],
    'file_name': (
        'write "file_name", the path below data_prefix.img, into every image'
    ),
    **dict.fromkeys(
        ('height', 'width', 'height, width'),
        'write "width" and "height" of each file into its entry, as '
        'PIL.Image.open(path).size gives them',
    ),
}
"""Fixes for incomplete entries, by the missing key."""


def is_detection(item: object) -> bool:
    return isinstance(item, Mapping) and 'score' in item


def format_errors(coco: object) -> str:
    """Describe why a parsed file is not COCO annotations; '' if it is."""
    if isinstance(coco, list) and coco and is_detection(coco[0]):
        return (
            'it lists results of a detector; name the annotation file with '
            'the ground truth'
        )
    tool = writer_of(coco)
    if tool:
        return f'it is from {tool}; {EXPORTS[tool]}'
    if not isinstance(coco, Mapping):
        return 'it holds no object with images, annotations and categories'
    for key, fields in FIELDS.items():
        if not isinstance(coco.get(key), list):
            return f'it has no list {key!r}'
        items = coco[key]
        if items and not all_fit(items, fields):
            for position, item in enumerate(items):
                problem = entry_error(item, fields)
                if problem:
                    return f'{key}[{position}]{problem}'
        counts = Counter(item['id'] for item in items)
        twice = [number for number, count in counts.items() if count > 1]
        if twice:
            long = all(isinstance(x, int) and x >= 2**53 for x in twice)
            why = ', rounded to 64-bit floats beyond 2**53' if long else ''
            return f'ids in {key} are not unique{why}: {some(twice)}'
    return ''


def with_fix(problem: str) -> tuple[str, str]:
    """Split a description by `format_errors` into the problem and its fix."""
    fix = ''
    if problem.startswith('it '):  # It is about the whole file.
        problem, _, fix = problem.partition('; ')
    for key, renumber in RENUMBER.items():
        if problem.startswith(f'ids in {key} '):
            return problem, renumber
    for missing, add in ADD.items():
        if problem.endswith(f' has no {missing}'):
            return problem, add
    return problem, fix or 'correct that in the file'


def check_coco(path: Path, coco: object) -> None:
    """Refuse a parsed file that is not COCO annotations.

    Raises:
        UnreadableError: Names the file and the entry, with the fix.
    """
    problem = format_errors(coco)
    if problem:
        problem, fix = with_fix(problem)
        message = f'{path} is not in COCO format: {problem}'
        raise UnreadableError(message, fix)

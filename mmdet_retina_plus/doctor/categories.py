"""Check classes and ids of an annotation file."""

import re
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from unicodedata import category, normalize
from unicodedata import name as unicode_name

import numpy as np

from mmdet_retina_plus.common.coco_columns import shift_of
from mmdet_retina_plus.common.text import clause, quantity, some

from .findings import Finding, any_error
from .split import Split

IGNORED = (
    *('dontcare', 'don t care', 'dont care', 'ignore', 'ignored', 'void'),
    *('ignored regions', 'ignored region', 'ignore regions', 'ignore region'),
    *('unlabeled', 'unlabelled', 'background'),
)
"""Names, without case and signs, of regions that are not objects."""
EXPECTED = 10
"""Objects of a class from which a part that has none seems unlabelled."""


def tuple_of(names: Sequence[str]) -> str:
    """Python source of a tuple of names."""
    listed = ', '.join(map(repr, names[:80]))
    return f'({listed},)'


def check_classes(split: Split) -> list[Finding]:
    """Compare classes with categories, whose order in the file sets labels."""
    fix = f'metainfo=dict(classes={tuple_of(split.categories)})'
    if isinstance(split.classes, str):
        return split.fail(
            f'classes is the string {split.classes!r}, not a tuple',
            f'put a comma: metainfo=dict(classes=({split.classes!r},))'
            if split.classes
            else fix,
        )
    blank = [
        repr(x)
        for x in split.classes
        if not isinstance(x, str) or not x.strip()
    ]
    if blank:
        return split.fail(
            f'classes has {some(blank)}, which is not a name', fix
        )
    if not split.categories and split.annotations:
        return []  # `check_references` reports it.
    if 'CLASSES' in split.metainfo:
        return split.fail(
            'metainfo has CLASSES, as in mmdet 2; mmdet 3 reads classes',
            fix,
        )
    for names, where in (
        (split.categories, 'categories of the annotation file'),
        (split.classes, 'classes'),
    ):
        twice = [x for x, count in Counter(names).items() if count > 1]
        if twice:
            ids = [
                x['id'] for x in split.coco['categories'] if x['name'] in twice
            ]
            return split.fail(
                f'{where} have the name {some(twice)} more than once '
                f'(category ids {some(ids, 8)}); labels and AP come out wrong',
                'give each category its own name, or write one id for all of '
                f'them into the annotations: {some(ids, 8)}',
            )
    alike = check_spelling(split)
    if alike:
        return alike
    absent = [x for x in split.classes if x not in split.categories]
    if absent and not split.names_classes:
        return split.fail(
            f'metainfo names no classes, so the {len(split.classes)} of the '
            f'data set count ({some(split.classes)}), and {len(absent)} of '
            'them are not categories of the annotation file',
            f'{fix} in the dataset of each dataloader',
        )
    if len(absent) == len(split.classes):
        return split.fail(
            f'none of its {len(absent)} classes ({some(absent)}) is a '
            'category of the annotation file, so AP stays 0',
            fix,
            'classes',
        )
    if absent:
        return split.fail(
            f'no category of the annotation file is called {some(absent)}, '
            'which moves the labels of the classes after it',
            f'{fix}, or add the category to the file',
            'classes',
        )
    used = [name for name in split.categories if name in split.classes]
    if used != list(split.classes):
        return split.fail(
            'labels follow the order of the annotation file, names follow '
            'classes, and the orders differ: results get wrong names',
            f'metainfo=dict(classes={tuple_of(used)})',
            'classes',
        )
    palette = split.metainfo.get('palette')
    if isinstance(palette, list | tuple) and len(palette) < len(used):
        return split.warn(
            f'palette has {quantity(len(palette), "colour")} for '
            f'{quantity(len(used), "class")}: drawing a prediction stops',
            "metainfo without 'palette', or with one (red, green, blue) per "
            'class',
        )
    numbers = Counter(split.column('category_id'))
    unused = [
        x['name']
        for x in split.coco['categories']
        if x['name'] not in split.classes and not numbers[x['id']]
    ]
    message = f'{quantity(len(used), "class")}, as in its file'
    if unused:
        message += f'; {some(unused)} is unused there, nothing to do'
    return split.say(message)


ENTRIES = {'image': 'images', 'category': 'categories'}
ARTICLES = {'image': 'an', 'category': 'a'}
EXACT = 2**53
"""Largest integer up to which 64-bit floats hold all."""


CYRILLIC = str.maketrans('авекмнорстухіјѕ', 'abekmhopctyxijs')
"""Cyrillic letters that look like Latin ones, at least as capitals."""


def folded(name: str) -> str:
    """Reduce a name to what a reader sees, without case.

    Normalises blanks and the Unicode form, drops invisible characters, and
    replaces Cyrillic letters by the Latin ones that look like them.
    """
    # Characters of a text, and symbols as LaTeX writes them.
    if len(name) == 1 or name.startswith('\\'):
        return name
    visible = (x for x in normalize('NFKC', name) if category(x) != 'Cf')
    return ' '.join(''.join(visible).split()).casefold().translate(CYRILLIC)


def scripts_of(name: str) -> set[str]:
    """Scripts of the letters of a name: LATIN, CYRILLIC, …"""
    return {unicode_name(x, '').partition(' ')[0] for x in name if x.isalpha()}


def is_plain(name: str, others: Iterable[str] = ()) -> bool:
    """Whether a name shows what it is: composed, printable, no look-alike.

    Args:
        name: Name.
        others: Names that it is compared with.
    """
    own = scripts_of(name)
    return (
        name.isprintable()
        and normalize('NFC', name) == name
        and not {'LATIN', 'CYRILLIC'} <= own
        and not any(
            folded(x) == folded(name) and scripts_of(x) != own for x in others
        )
    )


def shown(name: str, others: Iterable[str]) -> str:
    """Quote a name; escape its letters if it is not plain among others."""
    return repr(name) if is_plain(name, others) else ascii(name)


def check_spelling(split: Split) -> list[Finding]:
    """Report names that look equal, but for case or blanks."""
    by_name: dict[str, list[str]] = {}
    for name in split.categories:
        by_name.setdefault(folded(name), []).append(name)
    for names in by_name.values():
        if len(names) > 1:
            ids = [
                x['id'] for x in split.coco['categories'] if x['name'] in names
            ]
            listed = some([shown(x, names) for x in names])
            return split.fail(
                f'the categories {listed} (ids {some(ids)}) differ only in '
                'case, blanks or letters that look alike',
                f'write one id for all of them into the annotations: '
                f'{some(ids)}',
            )
    wanted = {folded(x): x for x in split.classes}
    theirs = [
        name
        for name in split.categories
        if wanted.get(folded(name), name) != name
    ]
    if not theirs:
        return []
    name = theirs[0]
    meant = wanted[folded(name)]
    right = [x for x in split.categories if folded(x) in wanted]
    return split.fail(
        f'the class {shown(meant, [name])} is called {shown(name, [meant])} '
        'in the annotation file; names must be equal',
        f'metainfo=dict(classes={tuple_of(right)})',
        'spelling',
    )


def names_of(split: Split, key: str) -> dict[str, int]:
    """Ids of images by file name, or of categories by name."""
    if key == 'image':
        return {x['file_name']: x['id'] for x in split.images}
    return {x['name']: x['id'] for x in split.coco['categories']}


def were_rounded(ids: Sequence, column: Sequence, lost: Sequence) -> bool:
    """Whether references are ids that were rounded to 64-bit floats.

    Args:
        ids: Ids in the list.
        column: Ids in the annotations.
        lost: Positions of those that are not in the list.
    """
    long = {float(x) for x in ids if isinstance(x, int) and abs(x) > EXACT}
    return bool(long) and all(
        isinstance(column[at], int | float) and float(column[at]) in long
        for at in lost
    )


def check_references(split: Split) -> list[Finding]:
    """Report ids of unknown images or categories, or of another type."""
    known = {
        'image': [x['id'] for x in split.images],
        'category': [x['id'] for x in split.coco['categories']],
    }
    findings = []
    for key, ids in known.items():
        there = set(ids)
        column = split.column(f'{key}_id')
        lost = [at for at, x in enumerate(column) if x not in there]
        if not lost:
            continue
        if not ids:
            return split.fail(
                f'the list of {ENTRIES[key]} is empty, and '
                f'{clause(len(column), "annotation", "refer")} to it',
                f'write the {ENTRIES[key]} into the annotation file, or set '
                'another ann_file',
            )
        shift = shift_of(key, column, there)
        if shift:
            findings += split.fail(
                f'{key}_id is off by one (the least is {min(column)}, the '
                f'least id of {ENTRIES[key]} {min(ids)}): objects get the '
                f'{key} {"before" if shift > 0 else "after"} theirs, those '
                f'at the end get none',
                f'add {shift} to every "{key}_id" of the annotations',
                'images' if key == 'image' else '',
            )
            continue
        if were_rounded(ids, column, lost):
            findings += split.fail(
                f'{key}_id was rounded to a 64-bit float, as JavaScript and '
                f'pandas do beyond 2**53: {len(lost)} of '
                f'{quantity(len(column), "annotation")} refer to no {key}, '
                'others may refer to a wrong one',
                f'number the {ENTRIES[key]} from 1 before the export, or keep '
                "ids as integers: in pandas dtype='Int64'",
                'images' if key == 'image' else '',
            )
            continue
        texts = {str(x) for x in ids}
        numbers = split.ids[lost].tolist()
        if all(str(column[at]) in texts for at in lost):
            first = column[lost[0]]
            findings += split.fail(
                f'{clause(len(lost), "annotation", "have")} {key}_id '
                f'{first!r}, of another type than the id in the list; mmdet '
                f'drops them: ids {some(numbers)}',
                f'write the same type in both: "{key}_id": '
                + ('1' if isinstance(first, str) else '"1"')
                + f', not {first!r}',
            )
        elif {column[at] for at in lost} <= names_of(split, key).keys():
            first, names = column[lost[0]], names_of(split, key)
            what = 'file_name' if key == 'image' else 'name'
            findings += split.fail(
                f'{clause(len(lost), "annotation", "have")} the {what} of the '
                f'{key} in {key}_id ({first!r}), not its id; mmdet drops '
                f'them: ids {some(numbers)}',
                f'"{key}_id": {names[first]!r} in place of {first!r}, and '
                f'likewise for the others: the id of the entry of that '
                f'{what} in {ENTRIES[key]}',
            )
        elif key == 'category' or len(lost) == len(column):
            findings += split.fail(
                f'{clause(len(lost), "annotation", "have")} an unknown '
                f'{key}_id; mmdet drops them: ids {some(numbers)}',
                f'write {ARTICLES[key]} {key}_id that is in the file (such as '
                f'{some(ids)}), or delete them',
            )
        else:
            findings += split.warn(
                f'{clause(len(lost), "annotation", "have")} an unknown '
                f'{key}_id; mmdet drops them: ids {some(numbers)}',
                f'correct the {key}_id in the annotation file or delete them',
            )
    return findings


def check_ignored_classes(split: Split) -> list[Finding]:
    """Report regions to ignore, or the background, as a class of objects."""
    if not split.trains or isinstance(split.classes, str):
        return []
    numbers = Counter(split.label_of[split.usable].tolist())
    for label, name in enumerate(split.classes):
        plain = re.sub(r'[\W_]+', ' ', folded(f'{name}')).strip()
        if plain not in IGNORED or not numbers[label]:
            continue
        rest = [x for x in split.classes if x != name]
        return split.warn(
            f'its {quantity(numbers[label], "object")} of the class {name} '
            'are learnt as objects, though the name stands for regions to '
            'ignore',
            f'write "iscrowd": 1 into the annotations of {name} and the '
            'category_id of another class, or delete them; then '
            f'metainfo=dict(classes={tuple_of(rest)}) and '
            f'num_classes={len(rest)}',
        )
    return []


def check_unused_classes(
    splits: Sequence[Split], known: Sequence[Finding] = ()
) -> list[Finding]:
    """Report classes without an object in the training files.

    `check_kept` counts objects that are in the files but do not train.

    Args:
        splits: Data sets.
        known: Findings about them; an error in a training set suppresses
            this check.
    """
    training = [x for x in splits if x.trains and x.usable.any()]
    subjects = {split.subject for split in training}
    if not training or any_error([x for x in known if x.subject in subjects]):
        return []
    classes = list(training[0].classes)
    if any(list(split.classes) != classes for split in training):
        return []
    seen = {
        label
        for split in training
        for label in np.unique(split.label_of).tolist()
    }
    return unused_classes(classes, seen)


def check_parts(splits: Sequence[Split]) -> list[Finding]:
    """Report classes that only some parts of the training data label."""
    training = [x for x in splits if x.trains and x.usable.any()]
    if len({tuple(x.classes) for x in training}) != 1:
        return []
    number = len(training[0].classes)
    counts = np.array(
        [np.bincount(x.label_of[x.usable], minlength=number) for x in training]
    )
    images = np.array([x.images_in.sum() for x in training])
    # Objects that each part would have at the highest rate of the others.
    wanted = (counts / images[:, None]).max(axis=0) * images[:, None]
    findings = []
    for split, seen, due in zip(training, counts, wanted, strict=True):
        absent = np.flatnonzero((seen == 0) & (due >= EXPECTED)).tolist()
        if not absent:
            continue
        names = some([split.classes[x] for x in absent])
        findings += split.warn(
            f'it has no object of {names}, which other training data have: '
            'if its images show such objects, they are learnt as background',
            f'label {names} in {split.path} too, unless its images show none',
        )
    return findings


def unused_classes(
    classes: Sequence[str], seen: Container[int]
) -> list[Finding]:
    """Report classes whose label was not seen."""
    absent = [x for label, x in enumerate(classes) if label not in seen]
    if not absent:
        return []
    rest = [x for x in classes if x not in absent]
    return [
        Finding(
            'warning',
            'train data',
            f'no object of the class {some(absent)}, which is never learnt',
            f'metainfo=dict(classes={tuple_of(rest)}) and '
            f'num_classes={len(rest)}, or add objects',
        )
    ]

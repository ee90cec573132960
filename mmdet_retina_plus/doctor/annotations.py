"""Problems of an annotation file, and what training keeps of it."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence, Set
from dataclasses import replace
from unicodedata import normalize

import numpy as np

from mmdet_retina_plus.common.coco_columns import BEYOND, NEGATIVE
from mmdet_retina_plus.common.config_tree import kind
from mmdet_retina_plus.common.numbers import is_number
from mmdet_retina_plus.common.text import clause, quantity, some, verb

from .box_formats import check_box_format
from .findings import Finding, any_error, guarded
from .repeated import check_duplicates
from .split import Split

FEW = 0.02
"""Fraction of objects or images that may be lost without a warning."""
MOST_EMPTY = 1 / 2
"""Fraction of images without objects above which they seem unlabelled."""
EXPECTED = 10
"""Objects of a class from which a part that has none seems unlabelled."""
NAMED = ('of an unknown image', 'without a bbox', BEYOND)
"""Reasons that other checks report."""
FIXES = {
    'marked "ignore"': 'delete "ignore" from objects that are to train',
    NEGATIVE: (
        'exchange the corners: write bbox as [min(x, x + w), min(y, y + h), '
        'abs(w), abs(h)]'
    ),
    'without area or thinner than a pixel': (
        'write bbox as [left, top, width, height] in pixels and area as '
        'width * height, or delete them'
    ),
    'outside of their image': (
        'check that bbox is [left, top, width, height] in pixels, and that '
        'width and height of the image are right'
    ),
    'of another category': 'metainfo=dict(classes={classes}) and num_classes',
    'in images that are left out': '{key}.filter_cfg.min_size=0',
    'marked "iscrowd"': (
        'write "iscrowd": 0 into every annotation of a single object'
    ),
    'without a mask': (
        'write segmentation as polygons of three or more corners or as run '
        'lengths, or delete them'
    ),
}
"""Fixes by the reason why an object does not train."""


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
            fix,
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


def folded(name: str) -> str:
    """Normalise blanks, case and Unicode form of a name."""
    return ' '.join(normalize('NFKC', name).split()).casefold()


def shown(name: str) -> str:
    """Quote a name; escape letters that are not in their composed form."""
    return repr(name) if normalize('NFC', name) == name else ascii(name)


def check_spelling(split: Split) -> list[Finding]:
    """Report names that differ only in case or blanks."""
    by_name: dict[str, list[str]] = {}
    for name in split.categories:
        by_name.setdefault(folded(name), []).append(name)
    for names in by_name.values():
        if len(names) > 1:
            ids = [
                x['id'] for x in split.coco['categories'] if x['name'] in names
            ]
            return split.fail(
                f'the categories {some(list(map(shown, names)))} (ids '
                f'{some(ids)}) differ only in case or blanks',
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
    right = [x for x in split.categories if folded(x) in wanted]
    return split.fail(
        f'the class {shown(wanted[folded(name)])} is called {shown(name)} in '
        'the annotation file; names must be equal',
        f'metainfo=dict(classes={tuple_of(right)})',
        'spelling',
    )


def names_of(split: Split, key: str) -> dict[str, int]:
    """Ids of images by file name, or of categories by name."""
    if key == 'image':
        return {x['file_name']: x['id'] for x in split.images}
    return {x['name']: x['id'] for x in split.coco['categories']}


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
                f'write a {key}_id that is in the file (such as '
                f'{some(ids)}), or delete them',
            )
        else:
            findings += split.warn(
                f'{clause(len(lost), "annotation", "have")} an unknown '
                f'{key}_id; mmdet drops them: ids {some(numbers)}',
                f'correct the {key}_id in the annotation file or delete them',
            )
    return findings


def check_boxes(split: Split) -> list[Finding]:
    findings = []
    broken = split.ids[np.isnan(split.boxes).any(axis=1)].tolist()
    if broken:
        findings += split.fail(
            f'{clause(len(broken), "annotation", "have")} no bbox of four '
            f'finite numbers: ids {some(broken)}',
            'write bbox as [left, top, width, height] in pixels',
        )
    low = (split.boxes < -1).any(axis=1)
    far = (split.boxes > np.tile(split.sizes, 2) + 1).any(axis=1)
    thin = split.lost_by['without area or thinner than a pixel']
    lost = split.lost_by['outside of their image'] | thin
    lost |= split.lost_by[NEGATIVE]
    out = split.ids[(low | far) & ~lost].tolist()
    wrong = check_box_format(split)
    # `check_kept` reports boxes that lie completely outside, if many do.
    outside = split.lost_by['outside of their image'].mean() if out else 0
    named = any(x.message.startswith('bbox ') for x in wrong)
    if out and outside <= FEW and not any_error(wrong) and not named:
        findings += split.warn(
            f'{clause(len(out), "box", "leave")} the image by more than a '
            f'pixel: ids {some(out)}',
            'check that bbox is [left, top, width, height], not a centre or '
            'the right and bottom edges, and that width and height of the '
            'image are not exchanged',
        )
    return findings + wrong


ANGLE = 1.0
"""Angle in degrees from which a box counts as rotated."""


def check_rotation(split: Split) -> list[Finding]:
    """Report rotations that CVAT and others store next to unrotated boxes."""
    turned = []
    for at, given in enumerate(split.column('attributes')):
        angle = given.get('rotation') if isinstance(given, Mapping) else 0
        if is_number(angle) and ANGLE < angle % 90 < 90 - ANGLE:
            turned.append(at)
    if len(turned) <= FEW * len(split.ids):
        return []
    return split.warn(
        f'{clause(len(turned), "annotation", "have")} a rotation in '
        'attributes, and bbox is the box before the rotation: ids '
        f'{some(split.ids[turned].tolist())}',
        'write the smallest upright box around each rotated one into bbox, '
        'or export polygons and take their bounds',
    )


def check_scoring(split: Split) -> list[Finding]:
    """Check what pycocotools reads and training does not."""
    if not split.scored:
        return []
    bare = [
        at
        for at, value in enumerate(split.column('iscrowd'))
        if not isinstance(value, int)
    ]
    findings = []
    if bare:
        numbers = split.ids[bare].tolist()
        findings += split.fail(
            f'{clause(len(bare), "annotation", "have")} no iscrowd of 0 or 1, '
            f'on which pycocotools fails: ids {some(numbers)}',
            'add "iscrowd": 0 to every annotation',
        )
    texts = [number for number in split.ids if isinstance(number, str)]
    if texts:
        findings += split.fail(
            f'pycocotools fails on annotation ids that are not numbers: '
            f'{some(list(map(repr, texts)))}',
            'number the annotations, starting at 1',
        )
    elif (split.ids == 0).any():
        (finding,) = split.warn(
            'pycocotools treats an annotation with id 0 as unmatched, so AP '
            'is too low',
            'number the annotations, starting at 1',
        )
        findings.append(replace(finding, cause='annotations'))
    return findings


def check_kept(split: Split, others: bool = False) -> list[Finding]:
    """Report how many objects and images of the file the data set keeps.

    Args:
        split: Data set.
        others: Whether other training sets have objects.
    """
    total, objects = len(split.ids), int(split.usable.sum())
    images = len(split.images)
    kept = int(split.images_in.sum())
    listed = {
        reason: int(lost.sum())
        for reason, lost in split.lost_by.items()
        if lost.any()
    }
    message = f'{objects:,} of {quantity(total, "object")}'
    if listed:
        reasons = (f'{count:,} {reason}' for reason, count in listed.items())
        message += f' ({", ".join(reasons)})'
    filters = [x for x in map(kind, split.pipeline) if 'Filter' in x]
    if split.trains and filters:
        message += f', before {filters[0]} of the pipeline,'
    message += f' in {kept:,} of {quantity(images, "image")}'
    taken = np.unique(split.image_of[split.usable])
    if kept > len(taken):
        empty = kept - len(taken)
        message += (
            f'; {empty} of them {verb(empty, "have")} none and '
            f'{verb(empty, "are")} used'
        )
    where = 'training keeps' if split.trains else 'it has'
    fixes = {
        reason: FIXES[reason].format(
            classes=tuple_of(split.categories), key=split.key
        )
        for reason in sorted(listed, key=listed.__getitem__, reverse=True)
        if reason not in NAMED
    }
    if not kept:
        worst = 'metainfo=dict(classes=…) and the annotation file'
        smallest = int(split.image_sizes.min()) if images else 0
        if not images:
            worst = (
                f"{split.key}.ann_file='…', a file that lists images, unlike "
                f'{split.path or "this one"}'
            )
        elif not split.trains and not split.test_mode:
            worst = f'{split.key}.test_mode=True'
        elif smallest < split.filter_cfg.get('min_size', 0):
            worst = f'{split.key}.filter_cfg.min_size={smallest}'
        return split.fail(
            f'{where} {message}',
            worst if not split.trains else next(iter(fixes.values()), worst),
        )
    # Unlabelled images, or negatives.
    if split.trains and not total and others:
        return split.say(f'{where} {message}')
    if not objects and (total or not split.name.startswith('test')):
        if not split.trains and [*listed] == ['marked "iscrowd"']:
            message += ': AP will be -1'
        worst = 'give it an annotation file with objects'
        return split.fail(
            f'{where} {message}', next(iter(fixes.values()), worst)
        )
    other = {
        reason: count
        for reason, count in listed.items()
        if reason not in NAMED
        and (reason != 'marked "iscrowd"' or count > FEW * total)
    }
    if split.trains and other:
        worst = next(reason for reason in fixes if reason in other)
        lost = split.ids[split.lost_by[worst]].tolist()
        return split.warn(
            f'{where} {message}; {worst}: ids {some(lost)}', fixes[worst]
        )
    if split.trains and kept - len(taken) > MOST_EMPTY * kept:
        return split.warn(
            f'{where} {message}: if they are only not labelled yet, their '
            'objects are learnt as background',
            f'{split.key}.filter_cfg.filter_empty_gt=True, unless they show '
            'no object of any class',
        )
    dropped = dropped_by_size(split)
    if dropped:
        return split.warn(
            f'{where} {message}; {dropped} are smaller than min_size',
            f'{split.key}.filter_cfg.min_size=0',
        )
    return split.say(f'{where} {message}')


def dropped_by_size(split: Split) -> int:
    small = split.image_sizes.min(axis=1) < split.filter_cfg.get('min_size', 0)
    return int((small & ~split.images_in).sum())


def check_subset(split: Split) -> list[Finding]:
    """Report `indices`, which select a part of the images."""
    if split.indexed is None or not split.trains:
        return []
    part, whole = len(split.indexed), len(split.kept_images or ())
    if part == whole:
        return []
    return split.warn(
        f'indices selects {part} of {quantity(whole, "image")}',
        f'{split.key}.indices=None, if training is to see all',
    )


def check_mode(split: Split) -> list[Finding]:
    """Report `test_mode` set for training, or not set for validation."""
    if split.trains == (not split.test_mode):
        return []
    if split.trains:
        if not split.filter_cfg:
            return []
        return split.warn(
            'test_mode=True: training does not apply filter_cfg',
            f'{split.key}.test_mode=False',
        )
    there = split.kept_images
    lost = 0 if there is None else len(split.images) - len(there)
    if not lost and not split.filter_cfg:
        return []
    if lost == len(split.images):  # `check_kept` reports it.
        return []
    message = 'test_mode is not set, so filter_cfg may leave images out'
    if lost:
        message = (
            f'without test_mode, {lost} of '
            f'{quantity(len(split.images), "image")} are left out: false '
            'positives there do not count, AP is too high'
        )
    return split.warn(
        message,
        f'{split.key}.test_mode=True',
    )


CHECKS = (
    check_classes,
    check_references,
    check_boxes,
    check_duplicates,
    check_rotation,
    check_scoring,
    check_subset,
    check_mode,
)


def check_annotations(split: Split, others: bool = False) -> list[Finding]:
    """Run all checks; counts are 'ok' where an error explains them.

    Args:
        split: Data set.
        others: Whether other training sets have objects.
    """
    found = [x for check in CHECKS for x in guarded(check, split)]
    counts = guarded(check_kept, split, others)
    if any_error(found):
        counts = [replace(x, level='ok', fix='') for x in counts]
    return found + counts


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
        absent = np.flatnonzero((seen == 0) & (due >= EXPECTED))
        if not len(absent):
            continue
        names = some([split.classes[x] for x in absent])
        findings += split.warn(
            f'it has no object of {names}, which other training data have: '
            'if its images show such objects, they are learnt as background',
            f'label {names} in {split.path} too, unless its images show none',
        )
    return findings


def check_scored_classes(splits: Sequence[Split]) -> list[Finding]:
    """Report validation files that have few of the training classes."""
    seen = {
        split.name: {*np.unique(split.label_of[split.usable]).tolist()}
        for split in splits
    }
    trained = {x for split in splits if split.trains for x in seen[split.name]}
    return [
        finding
        for split in splits
        if not split.trains
        for own in [seen[split.name]]
        if 0 < 2 * len(own) < len(trained)
        and split.usable.sum() >= OBJECTS * len(trained)
        for finding in split.warn(
            f'its {split.usable.sum()} objects belong to {len(own)} of the '
            f'{quantity(len(trained), "training class")}: AP leaves the '
            'others out',
            f'correct "category_id" in {split.path}, if it has objects of '
            'the others',
        )
    ]


OBJECTS = 5
"""Objects per class from which a missing class is not chance."""


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

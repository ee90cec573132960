"""What may be wrong in an annotation file, and what training keeps of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmdet_retina_plus.common.text import quantity, some

from .findings import Finding, any_error, guarded
from .split import Split

FEW = 0.02
"""Fraction of objects or images that a set may lose without a warning."""
NAMED = ('of an unknown image', 'without a bbox')
"""Reasons that are findings by themselves."""
FRACTIONS = 1.5
"""Coordinates up to which boxes are taken for fractions of the image."""
FIXES = {
    'marked "ignore"': 'delete "ignore" of objects that shall train',
    'without area or thinner than a pixel': (
        'write bbox as [left, top, width, height] in pixels and area as '
        'width * height, or delete them'
    ),
    'outside of their image': (
        'see whether bbox is [left, top, width, height] in pixels, and '
        'whether width and height of the image are right'
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
"""By the reason why an object does not train."""


def tuple_of(names: Sequence[str]) -> str:
    """Python of a tuple of names."""
    listed = ', '.join(map(repr, names[:80]))
    return f'({listed},)'


def check_classes(split: Split) -> list[Finding]:
    """Labels are positions in the file, of the categories that are classes."""
    fix = f'metainfo=dict(classes={tuple_of(split.categories)})'
    if isinstance(split.classes, str):
        return split.fail(
            f'classes is the string {split.classes!r}, not a tuple',
            f'put a comma: metainfo=dict(classes=({split.classes!r},))',
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
                'give each category a name of its own, or write one id for '
                f'all of them into the annotations: {some(ids, 8)}',
            )
    absent = [x for x in split.classes if x not in split.categories]
    if len(absent) == len(split.classes):
        return split.fail(
            f'none of its {len(absent)} classes ({some(absent)}) is a '
            'category of the annotation file, so AP stays 0',
            fix,
        )
    if absent:
        return split.fail(
            f'no category of the annotation file is called {some(absent)}, '
            'which moves the labels of the classes behind',
            f'{fix}, or add the category to the file',
        )
    used = [name for name in split.categories if name in split.classes]
    if used != list(split.classes):
        return split.fail(
            'labels follow the order of the annotation file, names those '
            'of classes, and the orders differ: results get wrong names',
            f'metainfo=dict(classes={tuple_of(used)})',
        )
    numbers = Counter(split.column('category_id'))
    unused = [
        x['name']
        for x in split.coco['categories']
        if x['name'] not in split.classes and not numbers[x['id']]
    ]
    message = f'{len(used)} classes as in its file'
    if unused:
        message += f'; {some(unused)} is unused there, nothing to do'
    return split.say(message)


def check_references(split: Split) -> list[Finding]:
    """Ids that lead nowhere, or differ in their type only."""
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
        texts = {str(x) for x in ids}
        numbers = split.ids[lost].tolist()
        if all(str(column[at]) in texts for at in lost):
            first = column[lost[0]]
            findings += split.fail(
                f'{quantity(len(lost), "annotation")} have {key}_id '
                f'{first!r}, of another type than the id in the list: mmdet '
                f'drops them: ids {some(numbers)}',
                f'write the same type in both: "{key}_id": '
                + ('1' if isinstance(first, str) else '"1"')
                + f', not {first!r}',
            )
        elif key == 'category' or len(lost) == len(column):
            findings += split.fail(
                f'{quantity(len(lost), "annotation")} have an unknown '
                f'{key}_id and are dropped: ids {some(numbers)}',
                f'write a {key}_id that is in the file (such as '
                f'{some(ids)}), or delete them',
            )
        else:
            findings += split.warn(
                f'{quantity(len(lost), "annotation")} have an unknown '
                f'{key}_id and are dropped: ids {some(numbers)}',
                f'correct the {key}_id in the annotation file or delete them',
            )
    return findings


def check_boxes(split: Split) -> list[Finding]:
    findings = []
    broken = split.ids[np.isnan(split.boxes).any(axis=1)].tolist()
    if broken:
        findings += split.fail(
            f'{quantity(len(broken), "annotation")} have no bbox of four '
            f'finite numbers: ids {some(broken)}',
            'write bbox as [left, top, width, height] in pixels',
        )
    low = (split.boxes < -1).any(axis=1)
    far = (split.boxes > np.tile(split.sizes, 2) + 1).any(axis=1)
    thin = split.lost_by['without area or thinner than a pixel']
    lost = split.lost_by['outside of their image'] | thin
    out = split.ids[(low | far) & ~lost].tolist()
    if out:
        findings += split.warn(
            f'{quantity(len(out), "box")[:-1]}es leave their image by more '
            f'than a pixel: ids {some(out)}',
            'see whether bbox is [left, top, width, height], not a centre or '
            'the right and bottom edges, and whether width and height of the '
            'image are exchanged',
        )
    return findings + check_box_format(split)


def check_box_format(split: Split) -> list[Finding]:
    """Boxes in another format than COCO's, by their size and area."""
    whole = split.boxes[~np.isnan(split.boxes).any(axis=1)]
    if len(whole) and 0 < whole.max() <= FRACTIONS:
        return split.fail(
            'all boxes lie within the first pixel: they are fractions of the '
            'image',
            'multiply bbox by width and height of the image',
        )
    if not split.usable.any():
        return []
    areas = split.areas[split.usable]
    left, top, right, bottom = split.boxes[split.usable].T
    # As if width and height were the right and bottom edges.
    corners = (right - 2 * left) * (bottom - 2 * top)
    extent = (right - left) * (bottom - top)
    other = ~np.isclose(areas, extent, rtol=0.01)
    fits = np.isclose(areas, corners, rtol=0.01) & other
    if other.any() and fits.sum() > other.sum() / 2:
        return split.fail(
            f'area of {quantity(int(fits.sum()), "object")} is that of a box '
            '[left, top, right, bottom]',
            'write bbox as [left, top, width, height]: "bbox": '
            '[x1, y1, x2 - x1, y2 - y1]',
        )
    large = areas > 1.1 * extent
    if large.mean() > FEW:
        return split.warn(
            f'area is larger than the box of {int(large.sum())} objects: AP '
            'by size is wrong',
            'write area as width * height of bbox, or as that of the mask',
        )
    return []


def check_duplicates(split: Split) -> list[Finding]:
    """The same box twice would be two objects at one location."""
    if not split.usable.any():
        return []
    rows = np.column_stack([split.image_of, split.label_of, split.boxes])
    order = np.flatnonzero(split.usable)
    _, first, counts = np.unique(
        rows[order].round(2), axis=0, return_index=True, return_counts=True
    )
    twice = split.ids[order[first[counts > 1]]].tolist()
    if len(twice) <= FEW * len(order):
        return []
    return split.warn(
        f'{quantity(int((counts - 1).sum()), "object")} repeat the box of '
        f'another of their class: ids {some(twice)}',
        'delete the copies from the annotation file',
    )


def check_scoring(split: Split) -> list[Finding]:
    """What training does not read, but pycocotools does."""
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
            f'{quantity(len(bare), "annotation")} have no iscrowd of 0 or 1, '
            f'which pycocotools fails on: ids {some(numbers)}',
            'add "iscrowd": 0 to every annotation',
        )
    texts = [number for number in split.ids if isinstance(number, str)]
    if texts:
        findings += split.fail(
            f'pycocotools fails on annotation ids that are no numbers: '
            f'{some(list(map(repr, texts)))}',
            'number the annotations, ids from 1 on',
        )
    elif (split.ids == 0).any():
        findings += split.warn(
            'pycocotools takes an annotation of id 0 for unmatched, so AP '
            'is too low',
            'number the annotations, ids from 1 on',
        )
    return findings


def check_kept(split: Split) -> list[Finding]:
    """Objects and images that the data set has, of those in the file."""
    total, objects = len(split.ids), int(split.usable.sum())
    images = len(split.images)
    kept = int(split.images_in.sum())
    listed = {
        reason: int(lost.sum())
        for reason, lost in split.lost_by.items()
        if lost.any()
    }
    message = f'{objects} of {quantity(total, "object")}'
    if listed:
        reasons = (f'{count} {reason}' for reason, count in listed.items())
        message += f' ({", ".join(reasons)})'
    message += f' in {kept} of {quantity(images, "image")}'
    taken = np.unique(split.image_of[split.usable])
    if kept > len(taken):
        message += f'; {kept - len(taken)} are empty and used'
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
        if smallest < split.filter_cfg.get('min_size', 0):
            worst = f'{split.key}.filter_cfg.min_size={smallest}'
        return split.fail(
            f'{where} {message}', next(iter(fixes.values()), worst)
        )
    if not objects and (total or not split.name.startswith('test')):
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


CHECKS = (
    check_classes,
    check_references,
    check_boxes,
    check_duplicates,
    check_scoring,
)


def check_annotations(split: Split) -> list[Finding]:
    """Counts are no problem by themselves where an error explains them."""
    found = [x for check in CHECKS for x in guarded(check, split)]
    counts = guarded(check_kept, split)
    if any_error(found):
        counts = [replace(x, level='ok', fix='') for x in counts]
    return found + counts


def check_unused_classes(splits: Sequence[Split]) -> list[Finding]:
    """Classes of which training sees nothing, in all its files."""
    training = [x for x in splits if x.trains and x.usable.any()]
    if not training or isinstance(training[0].classes, str):
        return []
    classes = list(training[0].classes)
    if any(list(split.classes) != classes for split in training):
        return []
    seen = {
        label
        for split in training
        for label in np.unique(split.label_of[split.usable]).tolist()
    }
    absent = [x for label, x in enumerate(classes) if label not in seen]
    if not absent or any(x not in training[0].categories for x in absent):
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

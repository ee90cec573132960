"""Problems of an annotation file, and what training keeps of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mmdet_retina_plus.common.coco_columns import (
    BEYOND,
    NEGATIVE,
    NOT_FOUND,
)
from mmdet_retina_plus.common.config_tree import kind
from mmdet_retina_plus.common.numbers import is_number
from mmdet_retina_plus.common.text import clause, quantity, some, verb

from .box_extent import check_scraps
from .box_formats import (
    FEW_MIXED,
    SAME,
    bounds_of,
    check_box_format,
    iou_of_pairs,
)
from .categories import (
    check_classes,
    check_ignored_classes,
    check_references,
    tuple_of,
)
from .findings import Finding, any_error, guarded
from .repeated import check_duplicates
from .segmentations import is_readable
from .split import Split

FEW_GROUPS = 3
"""Minimum number of groups to report."""
FEW = 0.02
"""Fraction of objects or images that may be lost without a warning."""
FAR = 0.05
"""Fraction of the image by which corners read as COCO leave it, at least."""
MOST_EMPTY = 1 / 2
"""Fraction of images without objects above which they seem unlabelled."""
NAMED = ('of an unknown image', 'without a bbox', BEYOND)
"""Reasons that other checks report."""
FIXES = {
    'marked "ignore"': 'delete "ignore" from objects that are to train',
    NEGATIVE: (
        'exchange the corners: write bbox as [min(x, x + w), min(y, y + h), '
        'abs(w), abs(h)]'
    ),
    'of negative area': (
        'write area as width * height of bbox, or the pixels of the mask'
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


def may_be_corners(split: Split, leave: np.ndarray) -> bool:
    """Whether boxes that leave their images far would fit as corners.

    Args:
        split: Data set.
        leave: Flags of these boxes.
    """
    edges, sizes = split.boxes[leave], split.sizes[leave]
    begins, ends = edges[:, :2], edges[:, 2:] - edges[:, :2]
    beyond = ((edges[:, 2:] - sizes) / sizes).max(axis=1)
    return bool(
        len(edges) >= FEW_MIXED
        and (ends > begins).all()
        and (ends <= sizes + 1).all()
        and np.median(beyond) > FAR
    )


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
    leave = (low | far) & ~lost
    out = split.ids[leave].tolist()
    wrong = check_box_format(split)
    # `check_kept` reports boxes that lie completely outside, if many do.
    outside = split.lost_by['outside of their image'].mean() if out else 0
    named = any(x.message.startswith('bbox ') for x in wrong)
    if out and outside <= FEW and not any_error(wrong) and not named:
        corners = (
            '; as [x1, y1, x2, y2] all of these would lie in it'
            if may_be_corners(split, leave)
            else ''
        )
        findings += split.warn(
            f'{clause(len(out), "box", "leave")} the image by more than a '
            f'pixel{corners}: ids {some(out)}',
            'check that bbox is [left, top, width, height], not a centre or '
            'the right and bottom edges, and that width and height of the '
            'image are not exchanged',
        )
    return findings + wrong


ANGLE = 1.0
"""Angle in degrees from which a box counts as rotated."""


def enclose_polygons(split: Split, places: Sequence[int]) -> np.ndarray:
    """Whether annotations have polygons whose bounds are their boxes."""
    masks = (split.annotations[at].get('segmentation') for at in places)
    bounds = np.array(
        [
            bounds_of(mask)
            if isinstance(mask, list) and is_readable(mask) and any(mask)
            else [np.nan] * 4
            for mask in masks
        ]
    ).reshape(-1, 4)
    return iou_of_pairs(split.boxes[places], bounds) > SAME


def check_rotation(split: Split) -> list[Finding]:
    """Report rotations that CVAT and others store next to unrotated boxes."""
    turned = []
    for at, given in enumerate(split.column('attributes')):
        angle = given.get('rotation') if isinstance(given, Mapping) else 0
        if is_number(angle) and ANGLE < angle % 90 < 90 - ANGLE:
            turned.append(at)
    if len(turned) <= FEW * len(split.ids):
        return []
    wrong = ~enclose_polygons(split, turned)
    if wrong.sum() <= FEW * len(split.ids):
        return []
    found = split.ids[turned][wrong].tolist()
    return split.warn(
        f'{clause(len(found), "annotation", "have")} a rotation in '
        f'attributes, and bbox is the box before the rotation: ids '
        f'{some(found)}',
        'write the smallest upright box around each rotated one into bbox, '
        'or export polygons and take their bounds',
    )


GROUPS = ('isgroup', 'isgroupof', 'groupof', 'iscrowd')
"""Flags of groups, without case and signs."""
TRUE = ('1', '1.0', 'true', 'yes')
MOST_GROUPS = 1 / 2
"""Fraction of flagged objects above which the flag seems to mean another
thing."""


def check_groups(split: Split) -> list[Finding]:
    """Report flags of groups of objects that mmdet does not read."""
    attributes = [
        x if isinstance(x, Mapping) else {} for x in split.column('attributes')
    ]
    flagged = np.zeros(len(split.ids), bool)
    names = []
    for things, where in (
        (split.annotations, ''),
        (attributes, 'attributes.'),
    ):
        for key in set().union(*things):
            plain = re.sub(r'[\W_]', '', f'{key}').lower()
            if plain not in GROUPS or where + f'{key}' == 'iscrowd':
                continue
            values = (x.get(key) for x in things)
            flags = [f'{x}'.lower() in TRUE for x in values]
            if any(flags):
                names.append(f'{where}{key}')
                flagged |= flags
    found = split.ids[flagged & split.usable].tolist()
    if not FEW_GROUPS <= len(found) <= MOST_GROUPS * split.usable.sum():
        return []
    return split.warn(
        f'{clause(len(found), "annotation", "have")} {some(names)}, but not '
        '"iscrowd": 1, the flag that mmdet reads: groups train, and count, as '
        f'single objects: ids {some(found)}',
        'write "iscrowd": 1 into these annotations',
    )


FEDERATED = ('neg_category_ids', 'not_exhaustive_category_ids')
"""Keys of images in which only some categories are labelled."""


def check_federated(split: Split) -> list[Finding]:
    """Report images in which only some categories are labelled, as in LVIS."""
    keys = [x for x in FEDERATED if any(y.get(x) for y in split.images)]
    # Another class belongs to LVIS, or may read these keys.
    if not keys or split.dataset != 'CocoDataset':
        return []
    if split.trains:
        effect = 'training learns them as background'
        fix = (
            'label all classes in all images, or train with a loss that '
            'leaves out the classes that are not listed for an image'
        )
    else:
        effect = 'CocoMetric counts boxes found there as false positives'
        fix = (
            f"{split.name.split()[0]}_evaluator.type='LVISMetric', or label "
            'all classes in all images'
        )
    return split.warn(
        f'its images have {" and ".join(keys)}, as LVIS does: objects of '
        f'categories that are not listed for an image may lack labels, and '
        f'{effect}',
        fix,
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
    dropped = dropped_empty(split)
    if dropped:
        message += (
            f'; filter_empty_gt drops {quantity(dropped, "image")} without '
            'objects'
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


def dropped_empty(split: Split) -> int:
    """Number of images without objects that training leaves out."""
    if not (split.trains and split.filter_cfg.get('filter_empty_gt')):
        return 0
    known = (split.image_of != NOT_FOUND) & (split.label_of != NOT_FOUND)
    empty = np.ones(len(split.images), bool)
    empty[split.image_of[known]] = False
    return int((empty & ~split.images_in).sum())


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
    check_ignored_classes,
    check_references,
    check_boxes,
    check_duplicates,
    check_rotation,
    check_groups,
    check_federated,
    check_scraps,
    check_scoring,
    check_subset,
    check_mode,
)


def of_other_images(findings: Sequence[Finding]) -> bool:
    """Whether boxes and masks would be compared with the wrong images."""
    return any(x.cause == 'images' for x in findings)


def check_annotations(split: Split, others: bool = False) -> list[Finding]:
    """Run all checks; counts are 'ok' where an error explains them.

    Args:
        split: Data set.
        others: Whether other training sets have objects.
    """
    found: list[Finding] = []
    for check in CHECKS:
        if check is not check_boxes or not of_other_images(found):
            found += guarded(check, split)
    counts = guarded(check_kept, split, others)
    if any_error(found):
        counts = [replace(x, level='ok', fix='') for x in counts]
    return found + counts

"""Find images that occur twice, in one data set or in several."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mmdet_retina_plus.common.text import clause, quantity, some, verb

from .findings import Finding
from .image_files import Looks, copies_among, show_the_same
from .images import TRIALS, may_be_labels
from .missing_images import MOST_BESIDE
from .split import Split, paths_of

PAIR = 2
"""Identical files up to this number may be copies; more are a mistake."""


def check_shared(splits: Sequence[Split], looks: Looks) -> list[Finding]:
    """Report copies within training, and images shared with other sets."""
    # Broken files have no content to compare, and label maps or black images
    # may be equal by chance.
    copies = copies_among({
        path: look
        for path, look in looks.items()
        if not (look.error or look.flat or may_be_labels(look))
    })  # fmt: skip

    def content(path: str) -> Any:
        return copies.get(path) or os.path.abspath(path)

    findings = []
    train: dict[str, tuple[Split, int]] = {}
    for split in splits:
        findings += check_copies(split, copies)
        if split.trains:
            train |= {
                content(path): (split, at)
                for at, path in enumerate(paths_of(split))
            }
    for split in splits:
        if split.trains:
            continue
        shared = {
            at: train[content(path)]
            for at, path in enumerate(paths_of(split))
            if content(path) in train
        }
        if shared:
            findings += check_contradictions(split, shared) or split.warn(
                *leaked(split, list(shared))
            )
        else:
            findings += check_twins(split, [x for x in splits if x.trains])
    return findings


def check_twins(split: Split, training: Sequence[Split]) -> list[Finding]:
    """Find training images in another format: equal boxes, similar pixels.

    Single boxes, such as that of the whole image, may be equal by chance.
    """

    def several(split: Split) -> list[tuple[frozenset, str]]:
        paths = paths_of(split)
        boxes = boxes_at(split, range(len(paths)))
        return [
            (frozenset(x), paths[at]) for at, x in boxes.items() if len(x) > 1
        ]

    known = dict(pair for split in training for pair in several(split))
    own = several(split)
    pairs = [(path, known[boxes]) for boxes, path in own if boxes in known]
    if len(pairs) < 3 or len(pairs) < len(own) / 2:
        return []
    shown = pairs[:: len(pairs) // TRIALS + 1]
    if sum(show_the_same(*pair) for pair in shown) < len(shown) / 2:
        return []
    return split.warn(
        f'{len(pairs)} of its {len(own)} images with several objects have the '
        'boxes of a training image and look like it, as copies in another '
        'format do: AP is too high',
        'compare such images, and delete the copies from the annotation file '
        'of training or of validation',
    )


def leaked(split: Split, shared: Sequence[int]) -> tuple[str, str]:
    """Message and fix for images that are also in the training set."""
    names = [split.images[at]['file_name'] for at in shared]
    fix = 'delete them from the annotation file of training or of validation'
    if len(names) == len(split.images):
        fix = (
            f'{split.key}.ann_file=… and that of the evaluator: name a file '
            'of other images, for instance move some training images into it'
        )
    return (
        f'{len(names)} of {quantity(len(split.images), "image")} '
        f'{verb(len(names), "belong")} to the training data as well, so AP '
        f'is too high: {some(names)}',
        fix,
    )


def boxes_at(split: Split, places: Sequence[int]) -> dict[int, set]:
    """Boxes of the images at these positions, in whole pixels."""
    found: dict[int, set] = {at: set() for at in places}
    chosen = split.usable & np.isin(split.image_of, list(places))
    rows = split.boxes[chosen].round().tolist()
    for at, box in zip(split.image_of[chosen].tolist(), rows, strict=True):
        found[at].add(tuple(box))
    return found


def check_contradictions(
    split: Split, shared: Mapping[int, tuple[Split, int]]
) -> list[Finding]:
    """Report training files whose objects differ: the wrong folder.

    Args:
        split: Data set for validation or test.
        shared: Position of each image shared with training: the training set
            and the position there.
    """
    ours = boxes_at(split, list(shared))
    trained: dict[str, dict[int, set]] = {}
    for one in {id(x): x for x, _ in shared.values()}.values():
        places = [at for x, at in shared.values() if x is one]
        trained[one.name] = boxes_at(one, places)
    pairs = [
        (at, ours[at], trained[one.name][place])
        for at, (one, place) in shared.items()
    ]
    both = [x for x in pairs if x[1] and x[2]]
    other = [at for at, own, theirs in both if own.isdisjoint(theirs)]
    if 2 * len(other) <= len(both):
        return []
    names = [split.images[at]['file_name'] for at in other]
    wrong, folder = split, split.image_dir
    if 'train' not in folder.name and re.search('val|test', folder.name):
        wrong = shared[other[0]][0]
    right = beside(names, folder)
    fix = (
        f'{wrong.key}.data_prefix.img=… the folder of its own images'
        if right is None
        else f"{wrong.key}.data_prefix.img='{right}/'"
    )
    return split.fail(
        f'{len(names)} of {quantity(len(split.images), "image")} '
        f'{verb(len(names), "are")} files of the training data '
        f'({folder}), with none of their objects there: {some(names)}',
        fix,
    )


def beside(names: Sequence[str], folder: Path) -> Path | None:
    """Find a sibling folder that has files of these names."""
    for other in islice(sorted(folder.parent.iterdir()), MOST_BESIDE):
        if other != folder and all(
            (other / name).is_file() for name in names[:TRIALS]
        ):
            return other
    return None


def check_copies(split: Split, copies: Mapping[str, bytes]) -> list[Finding]:
    """Report identical files under several names with different objects."""
    counts = Counter(split.image_of[split.usable].tolist())
    groups: dict[bytes, dict[str, int]] = defaultdict(dict)
    for at, path in enumerate(paths_of(split)):
        if path in copies and split.images_in[at]:
            name = split.images[at]['file_name']
            groups[copies[path]][name] = counts[at]
    differ = [x for x in groups.values() if len({*x.values()}) > 1]
    if not differ:
        return []
    largest = max(differ, key=len)
    if len(largest) > PAIR:
        files = sum(map(len, differ))
        same = 'one image' if len(differ) == 1 else f'{len(differ)} images'
        return split.warn(
            f'{quantity(files, "image file")} have the bytes of {same} but '
            f'different objects: {some(list(largest))}',
            'copy the images again, so that each file is the image that its '
            'objects belong to',
        )
    least, most = (
        choose(differ[0], key=differ[0].__getitem__) for choose in (min, max)
    )
    return split.warn(
        f'{clause(len(differ), "image", "occur")} under several names with '
        f'different objects: {least} has {differ[0][least]} of the '
        f'{differ[0][most]} of {most}, the rest are background there',
        'keep only the file with all objects in the annotation file, such as '
        f'{most}',
    )

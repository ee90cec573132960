"""Find images that occur twice, in one data set or in several."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mmdet_retina_plus.common.text import clause, quantity, some, verb

from .findings import Finding
from .image_files import PRINT, Looks, copies_among, correlation, thumbnail
from .images import TRIALS, may_be_labels
from .missing_images import MOST_BESIDE
from .split import Split

PAIR = 2
"""Identical files up to this number may be copies; more are a mistake."""
FEWEST = 2
"""Least number of images that look like training images."""
MOST_VERSIONS = 0.05
"""Fraction of images that may have the names of training images by chance."""
COPIES = 4
"""Most training images that an image looks like; of a fixed camera, more."""
CROWD = 50
"""Number of training images above which equal parts are not compared."""
BANDS = PRINT**2 // 32
"""Parts of 32 bits that a fingerprint has."""
FINE, VERY = 64, 0.97
"""Side of thumbnails, in pixels, and correlation of copies."""
OWN, TYPICAL = 0.5, 16
"""Correlation of copies beyond the mean of so many training images: those of
one microscope or camera all show nearly the same."""


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
                for at, path in enumerate(split.paths)
            }
    for split in splits:
        if split.trains:
            continue
        shared = {
            at: train[content(path)]
            for at, path in enumerate(split.paths)
            if content(path) in train
        }
        if shared:
            findings += check_contradictions(split, shared) or split.warn(
                *leaked(split, list(shared))
            )
        else:
            training = [x for x in splits if x.trains]
            findings += check_twins(split, training, looks) or check_versions(
                split, training
            )
    return findings


def check_twins(
    split: Split, training: Sequence[Split], looks: Looks
) -> list[Finding]:
    """Find training images saved anew: similar pixels, maybe mirrored.

    Args:
        split: Data set for validation or test.
        training: Data sets for training.
        looks: Results for their images, by path.
    """
    own = prints_of([split], looks)
    theirs = prints_of(training, looks)
    pairs = near_prints(own, theirs)
    pairs += [(*x, False) for x in equal_boxes(split, training)]
    known = {(path, other): mirrored for path, other, mirrored in pairs}
    numbers = Counter(path for path, _ in known)
    if len(numbers) < FEWEST or np.median([*numbers.values()]) > COPIES:
        return []
    shown = list(known.items())[:: len(known) // TRIALS + 1]
    typical = theirs[0][:: len(theirs[0]) // TYPICAL + 1]
    thumbnails = [thumbnail(x, FINE) for x in typical]
    usual = np.mean(thumbnails or [np.zeros((FINE, FINE))], axis=0)
    same = [are_copies(*pair, mirrored, usual) for pair, mirrored in shown]
    if sum(same) < len(same) / 2:
        return []
    (one, other), mirrored = shown[same.index(True)]
    copies = max(1, round(len(numbers) * sum(same) / len(same)))
    return split.warn(
        f'{copies} of {quantity(len(split.images), "image")} '
        f'{verb(copies, "look")} like a training image, as copies in '
        'another format or size do, or augmented ones: AP is too high: '
        f'{os.path.basename(one)} is {"the mirrored " if mirrored else ""}'
        f'{os.path.basename(other)}',
        'compare such images, and delete the copies from the annotation file '
        'of training or of validation; split the images before augmenting '
        'them',
    )


def are_copies(
    one: str, other: str, mirrored: bool, usual: np.ndarray
) -> bool:
    """Whether two files show the same, beyond what all images show.

    Args:
        one: Image file.
        other: Training image.
        mirrored: Whether to compare the first with the mirrored second.
        usual: Mean thumbnail of training images, shape (FINE, FINE).
    """
    step = -1 if mirrored else 1
    first, second = thumbnail(one, FINE), thumbnail(other, FINE)
    turned = second[:, ::step]
    beyond = correlation(first - usual, (second - usual)[:, ::step])
    return correlation(first, turned) > VERY and beyond > OWN


EXPORTED = re.compile(r'(.+)\.rf\.[0-9a-zA-Z]+\.\w+')
"""Names that Roboflow gives to the versions of one image."""


def check_versions(split: Split, training: Sequence[Split]) -> list[Finding]:
    """Report versions that augmentation made of one image, in both sets."""

    def originals(paths: Iterable[str]) -> dict[str, str]:
        matches = {x: EXPORTED.fullmatch(os.path.basename(x)) for x in paths}
        return {match[1]: path for path, match in matches.items() if match}

    own = originals(split.paths)
    known = originals(x for one in training for x in one.paths)
    shared = [x for x in own if x in known]
    if len(shared) < max(FEWEST, MOST_VERSIONS * len(own)):
        return []
    names = [os.path.basename(x[shared[0]]) for x in (own, known)]
    return split.warn(
        f'{clause(len(shared), "image", "are")} versions of training images '
        f'by their names, such as {names[0]} of {names[1]}: AP is too high',
        'split the images before augmenting them, and augment only training',
    )


def equal_boxes(
    split: Split, training: Sequence[Split]
) -> list[tuple[str, str]]:
    """Pair images that have the same boxes, several of them."""

    def several(split: Split) -> list[tuple[frozenset, str]]:
        paths = split.paths
        boxes = boxes_at(split, range(len(paths)))
        return [
            (frozenset(x), paths[at]) for at, x in boxes.items() if len(x) > 1
        ]

    known = dict(pair for split in training for pair in several(split))
    return [(path, known[x]) for x, path in several(split) if x in known]


def prints_of(
    splits: Sequence[Split], looks: Looks
) -> tuple[list[str], np.ndarray]:
    """Paths of decoded images, and their fingerprints (N, 8) as numbers."""
    paths = [
        path
        for split in splits
        for path in split.paths
        if path in looks
        if looks[path].fingerprint and not looks[path].flat
    ]
    joined = bytes.fromhex(''.join(looks[x].fingerprint for x in paths))
    return paths, np.frombuffer(joined, np.uint32).reshape(-1, BANDS)


def near_prints(
    ours: tuple[list[str], np.ndarray], theirs: tuple[list[str], np.ndarray]
) -> list[tuple[str, str, bool]]:
    """Pair images whose fingerprints differ in less than 8 of 256 bits.

    Two such fingerprints have at least one of their eight numbers in common.

    Returns:
        Our path, their path, whether the second is mirrored.
    """
    found: dict[tuple[str, str], bool] = {}
    for mirrored in (False, True):
        paths, prints = ours
        if mirrored:
            bits = np.unpackbits(prints.view(np.uint8))
            turned = 1 - bits.reshape(-1, PRINT, PRINT)[:, :, ::-1]
            prints = np.packbits(turned).view(np.uint32).reshape(-1, BANDS)
        for band in range(BANDS):
            order = np.argsort(theirs[1][:, band], kind='stable')
            column = theirs[1][order, band]
            first = np.searchsorted(column, prints[:, band])
            last = np.searchsorted(column, prints[:, band], side='right')
            # A part that many have in common is empty.
            counts = np.where(last - first > CROWD, 0, last - first)
            one = np.repeat(np.arange(len(counts)), counts)
            step = np.arange(len(one)) - np.repeat(
                counts.cumsum() - counts, counts
            )
            other = order[np.repeat(first, counts) + step]
            differ = (prints[one] ^ theirs[1][other]).view(np.uint8)
            near = np.unpackbits(differ, axis=1).sum(1) < BANDS
            for at, place in zip(one[near], other[near], strict=True):
                found.setdefault((paths[at], theirs[0][place]), mirrored)
    return [(*pair, mirrored) for pair, mirrored in found.items()]


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
    for at, path in enumerate(split.paths):
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

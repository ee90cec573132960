"""Compare the objects of training with those of validation."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mmdet_retina_plus.common.coco_columns import NOT_FOUND
from mmdet_retina_plus.common.network_boxes import network_boxes, resized
from mmdet_retina_plus.common.text import quantity, some

from .annotations import MOST_EMPTY
from .findings import Finding
from .split import Split

FEWEST = 20
"""Minimum number of images, and of objects, of each set to compare."""
APART, SURE = 0.2, 4.0
"""Minimum difference of two fractions, also in standard errors."""
TIMES, CERTAIN = 3.0, 6.0
"""Minimum ratio of two averages, and difference of their logarithms in
standard errors."""
CHANCE = 1e-9
"""Greatest probability of what is no chance."""
MOST_CROWDS = 1 / 2
"""Fraction of crowds above which they seem to be single objects."""
OBJECTS = 5
"""Objects per class from which a missing class is not chance."""
TOGETHER, OFTEN, DUE = 10, 0.2, 15
"""Validation images with two classes, also as a fraction of those with the
rarer one, and training images that should have both, from which it is no
chance that none has."""
SEVERAL = 0.1
"""Fraction of training images with several objects, below which they are
crops or renders of single ones."""
MOST_CLASSES = 500
"""Maximum number of classes to compare in pairs."""
EXPECTED = 30
"""Objects of a class from which its absence in validation is not chance."""


@dataclass(frozen=True)
class Pair:
    """A validation set, and the training sets that have annotations."""

    val: Split
    training: Sequence[Split]


def pairs_of(splits: Sequence[Split]) -> Iterator[Pair]:
    """Yield each scored set that has objects, with all of training."""
    # Semi-supervised training has files without annotations.
    training = [x for x in splits if x.trains and x.usable.any()]
    for split in splits:
        if training and not split.trains and split.usable.any():
            yield Pair(split, training)


def full_images(split: Split, used: bool) -> np.ndarray:
    """Flags of images, True if an image has an object or a crowd.

    Args:
        split: Data set.
        used: Whether to leave out the images that filters drop.
    """
    known = (split.image_of != NOT_FOUND) & (split.label_of != NOT_FOUND)
    full = np.zeros(len(split.images), bool)
    full[split.image_of[known]] = True
    return full[split.images_in] if used else full


def differ(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether fractions of flags differ: a z-test with a minimum effect."""
    if min(len(one), len(other)) < FEWEST:
        return False
    whole = np.concatenate([one, other]).mean()
    error = (whole * (1 - whole) * (1 / len(one) + 1 / len(other))) ** 0.5
    gap = abs(one.mean() - other.mean())
    return bool(gap >= APART and gap >= SURE * error)


def are_multiples(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether positive numbers differ by a factor, beyond chance."""
    if min(len(one), len(other)) < FEWEST:
        return False
    logs = [np.log(one), np.log(other)]
    gap = abs(logs[0].mean() - logs[1].mean())
    error = sum(x.var() / len(x) for x in logs) ** 0.5
    return bool(gap >= np.log(TIMES) and gap >= CERTAIN * error)


def check_empty_images(pair: Pair) -> list[Finding]:
    """Report images without objects that are frequent in one set only."""
    val, training = pair.val, pair.training
    scored = full_images(val, used=True)
    listed, seen = (
        np.concatenate([full_images(x, used) for x in training])
        for used in (False, True)
    )
    if differ(listed, scored) and scored.mean() < listed.mean():
        return val.warn(
            f'{1 - scored.mean():.0%} of its images have no object, but '
            f'{1 - listed.mean():.0%} of the training images: if they are '
            'only not labelled yet, boxes found there count as false '
            'positives',
            f'label these images in {val.path}, or delete them from it, '
            'unless they show no object of any class',
        )
    empty = 1 - seen.mean()
    # `check_kept` reports more.
    if not differ(seen, scored) or seen.mean() > scored.mean():
        return []
    if empty > MOST_EMPTY:
        return []
    return training[0].warn(
        f'{empty:.0%} of the training images have no object, but '
        f'{1 - scored.mean():.0%} of those of {val.name}: if they are only '
        'not labelled yet, their objects are learnt as background',
        f'{training[0].key}.filter_cfg.filter_empty_gt=True, unless they show '
        'no object of any class',
    )


def check_crowds(pair: Pair) -> list[Finding]:
    """Report many objects marked as crowds, or many more than in training."""
    val, training = pair.val, pair.training
    scored = val.crowd[val.label_of != NOT_FOUND]
    trained = np.concatenate([
        x.crowd[x.label_of != NOT_FOUND] for x in training
    ])  # fmt: skip
    more = differ(trained, scored) and scored.mean() > trained.mean()
    many = len(scored) >= FEWEST and scored.mean() > MOST_CROWDS
    if not (more or many):
        return []
    return val.warn(
        f'{scored.sum()} of its {quantity(len(scored), "object")} are marked '
        f'"iscrowd", but {trained.sum()} of {len(trained):,} in training: '
        'they are not scored, and a detector that misses them has the same AP',
        f'"iscrowd": 0 in {val.path} for single objects, as some converters '
        'write 1 for all masks in run lengths',
    )


def objects_per_image(split: Split) -> np.ndarray:
    """Numbers of objects of the images that have any."""
    return np.unique(split.image_of[split.usable], return_counts=True)[1]


def check_numbers(pair: Pair) -> list[Finding]:
    """Report sets of which one has far fewer objects in its images."""
    scored = objects_per_image(pair.val)
    trained = np.concatenate([objects_per_image(x) for x in pair.training])
    if are_single(trained, scored) or are_single(scored, trained):
        return report_single(pair, trained, scored)
    if not are_multiples(scored, trained):
        return []
    few, effect = pair.val, 'boxes found on the others are false positives'
    if trained.mean() < scored.mean():
        few, effect = pair.training[0], 'the others are learnt as background'
    return few.warn(
        f'images with objects have {trained.mean():.1f} of them in training, '
        f'but {scored.mean():.1f} in {pair.val.name}: if {few.name} has only '
        f'some of its objects labelled, {effect}',
        f'label all objects in {few.path}, or use images like those of the '
        'other set',
    )


def are_single(numbers: np.ndarray, others: np.ndarray) -> bool:
    """Whether all images have one object, which would be no chance."""
    if min(len(numbers), len(others)) < FEWEST or numbers.max() > 1:
        return False
    return bool((others == 1).mean() ** len(numbers) < CHANCE)


def report_single(
    pair: Pair, trained: np.ndarray, scored: np.ndarray
) -> list[Finding]:
    few, numbers, other = pair.training[0], trained, pair.val
    effect = 'are learnt as background'
    if trained.max() > 1:
        few, numbers, other = pair.val, scored, pair.training[0]
        effect = 'count as false positives when they are found'
    mean = max(trained.mean(), scored.mean())
    return few.warn(
        f'each of {len(numbers)} images has a single object, those of '
        f'{other.name} have {mean:.1f}: if the last of an image_id overwrote '
        f'the others, these {effect}',
        f'export {few.path} again with all objects of an image, or use images '
        'like those of the other set',
    )


def sides_of(split: Split) -> np.ndarray:
    """Square roots of the areas of objects after the pipeline."""
    used = split.usable
    boxes, _ = network_boxes(
        split.boxes[used], split.sizes[used], split.pipeline
    )
    sides = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) ** 0.5
    return sides[sides > 0]


def image_side(split: Split) -> float:
    """Median longest side of the images after the pipeline."""
    return float(
        np.median(resized(split.image_sizes, split.pipeline).max(axis=1))
    )


def check_object_sizes(pair: Pair) -> list[Finding]:
    """Report objects much larger or smaller than those of training.

    `check_scales` reports images of another size.
    """
    val, training = pair.val, pair.training
    try:
        images = np.median([image_side(x) for x in training])
        ratio = images / image_side(val)
        scored = sides_of(val)
        trained = np.concatenate([sides_of(x) for x in training])
    except (TypeError, ValueError):  # Another check reports invalid scales.
        return []
    if not 1 / 2 < ratio < 2:
        return []
    if not are_multiples(scored, trained):
        return []
    return val.warn(
        f'its objects have sides of {np.median(scored):.0f} pixels after the '
        f'pipeline, those of training {np.median(trained):.0f}, in images '
        'of about the same size',
        'look at both sets by --show; crop or scale training images so that '
        'objects get the sizes of validation',
    )


def numbers_of(splits: Sequence[Split]) -> Counter[str]:
    """Numbers of objects by class."""
    return Counter(
        split.classes[label]
        for split in splits
        for label in split.label_of[split.usable].tolist()
        # A name twice in the file has labels beyond the classes.
        if label < len(split.classes)
    )


def check_classes(pair: Pair) -> list[Finding]:
    """Report validation files that lack classes of training."""
    val, own = pair.val, numbers_of([pair.val])
    trained = numbers_of(pair.training)
    if 2 * len(own) < len(trained) and own.total() >= OBJECTS * len(trained):
        return val.warn(
            f'its {own.total()} objects belong to {len(own)} of the '
            f'{quantity(len(trained), "training class")}: AP leaves the '
            'others out',
            f'correct "category_id" in {val.path}, if it has objects of '
            'the others',
        )
    ratio = own.total() / trained.total()
    absent = [
        name
        for name, number in trained.items()
        if name not in own and number * ratio >= EXPECTED
    ]
    if not absent:
        return []
    part = sum(trained[name] for name in absent) / trained.total()
    return val.warn(
        f'none of its {own.total():,} objects is of {some(absent)}, as '
        f'{part:.0%} of the training objects are: AP leaves it out',
        f'label {some(absent)} in {val.path} too, unless its images show none',
    )


def images_with(split: Split, number: int) -> np.ndarray:
    """Flags (images, classes): whether an image has an object of a class."""
    found = np.zeros((len(split.images), number), bool)
    used = split.usable & (split.label_of < number)
    found[split.image_of[used], split.label_of[used]] = True
    return found


def check_together(pair: Pair) -> list[Finding]:
    """Report classes that share images in validation, never in training.

    Merged sources that each label some of the classes have no image with both.
    Images of single objects have none either, whatever is labelled.
    """
    val, training = pair.val, pair.training
    classes = list(val.classes)
    if any(list(x.classes) != classes for x in training):
        return []
    numbers = np.concatenate(
        [
            np.unique(x.image_of[x.usable], return_counts=True)[1]
            for x in training
        ]
    )
    if (numbers > 1).sum() < SEVERAL * len(numbers):
        return []
    number = min(len(classes), MOST_CLASSES)
    scored = images_with(val, number).astype(np.float32)
    trained = np.concatenate([images_with(x, number) for x in training])
    trained = trained.astype(np.float32)
    both, learnt = scored.T @ scored, trained.T @ trained
    # Numbers of images with the rarer class of each pair.
    rarer, there = (
        np.minimum.outer(x.sum(0), x.sum(0)) for x in (scored, trained)
    )
    found = (learnt == 0) & (both >= TOGETHER) & (both >= OFTEN * rarer)
    found &= both * there >= DUE * rarer
    pairs = np.argwhere(np.triu(found, 1)).tolist()
    if not pairs:
        return []
    one, other = pairs[0]
    names = f'{classes[one]} and {classes[other]}'
    more = f', and {len(pairs) - 1} more pairs' if len(pairs) > 1 else ''
    return training[0].warn(
        f'no image has both {names}{more}, though {both[one, other]:.0f} of '
        f'{quantity(len(scored), "image")} of {val.name} have: if its parts '
        'label different classes, the others are learnt as background there',
        f'label {names} in all images of {training[0].path}, or train one '
        'detector for each part',
    )


CHECKS = (
    check_classes,
    check_together,
    check_crowds,
    check_empty_images,
    check_numbers,
    check_object_sizes,
)


def check_balance(splits: Sequence[Split]) -> list[Finding]:
    """Compare each scored set with the training sets."""
    return [
        finding
        for pair in pairs_of(splits)
        for check in CHECKS
        for finding in check(pair)
    ]

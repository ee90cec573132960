"""Find frames of a video, slices of a scan, tiles of a scene in both sets."""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mmdet_retina_plus.common.text import quantity

from .findings import Finding
from .image_files import Look, any_image, quiet_decoders, show_the_same
from .split import Split

NUMBERED = re.compile(r'(.*?)(\d+)(\D*)')
"""Text before the last number of a name, the number, the rest."""
NEAR = 2
"""Maximum difference between the numbers of neighbours."""
FEWEST, PAIRS = 6, 12
"""Minimum number of neighbours, and number of pairs to compare."""
MOST, CHANCE = 0.7, 0.3
"""Minimum fraction of similar neighbours, maximum of similar other pairs."""


def numbers_of(paths: Sequence[str]) -> dict[tuple[str, str, int], str]:
    """Paths by the text before and after the last number, and the number."""
    found = {}
    for path in paths:
        match = NUMBERED.fullmatch(os.path.basename(path))
        if match:
            found[match[1], match[3], int(match[2])] = path
    return found


def neighbours(
    paths: Sequence[str], training: Sequence[str]
) -> list[tuple[str, str]]:
    """Pair each image with a training image of a nearby number."""
    known = numbers_of(training)
    steps = [sign * step for step in range(1, NEAR + 1) for sign in (1, -1)]
    pairs = []
    for (before, after, number), path in numbers_of(paths).items():
        beside = (known.get((before, after, number + x)) for x in steps)
        near = next(filter(None, beside), None)
        if near is not None:
            pairs.append((path, near))
    return pairs


TILES_BY_NAME = (
    re.compile(r'(.*?)(\d+)(\D+)(\d+)(\D*)'),
    re.compile(r'(.*?)(\d+)(\D+)(\d+)(\D+)\d+\D+\d+\D*'),
)
"""Text around the last two numbers of a name, and these numbers; the same of
the two before them, which SAHI follows by the right and bottom edges."""
TILES = 200
"""Maximum number of images whose overlapping tiles are looked for."""
LEAST, EQUAL, BETTER = 16, 0.9, 0.5
"""Shortest side of an overlap in pixels, correlation of its pixels, and ratio
of their differences to those of the same places of both files."""


STRIP, SEEN, CONTRAST = 16, 0.9, 1.0
"""Width in pixels of a strip at the side of a tile, correlation at which it is
found in another tile, and its minimum standard deviation."""
PEAK, SECOND, JITTER = 4, 0.8, 2
"""Pixels around the best place of a strip, correlation that no other place
has, and by how many pixels steps from tile to tile may differ."""
STEPS = 2
"""Offsets of neighbours up to this are rows and columns, not pixels."""


class Overlap(NamedTuple):
    """A tile, one of training, and where that begins in the first."""

    path: str
    other: str
    shift: tuple[int, int]


def overlaps(
    paths: Sequence[str],
    training: Sequence[str],
    looks: Mapping[str, Look],
    tile: re.Pattern = TILES_BY_NAME[0],
) -> list[Overlap]:
    """Pair tiles that overlap if two numbers of their names are offsets."""

    def offsets(paths: Sequence[str]) -> dict[tuple, list]:
        found = defaultdict(list)
        for path in paths:
            match = tile.fullmatch(os.path.splitext(os.path.basename(path))[0])
            if match:
                key = match[1], match[3], match[5]
                found[key].append((path, int(match[2]), int(match[4])))
        return found

    known = {
        key: ([x[0] for x in group], np.array([x[1:] for x in group], float))
        for key, group in offsets(training).items()
    }
    found = []
    for key, group in offsets(paths).items():
        others, places = known.get(key, ([], np.zeros((0, 2))))
        for path, *own in group if others else ():
            shifts = places - own
            far = np.abs(shifts).sum(axis=1)
            far[far == 0] = np.inf
            at = int(far.argmin())
            most = min(looks[path].size) - LEAST
            if far[at] < np.inf and np.abs(shifts[at]).max() <= most:
                one, two = shifts[at].astype(int).tolist()
                found.append(Overlap(path, others[at], (one, two)))
    return found


def common_shift(pair: Overlap) -> tuple[int, int] | None:
    """How far right and down the second of two tiles begins.

    Returns:
        Pixels; None if the tiles have no pixels in common.
    """
    try:
        with quiet_decoders():
            one, other = (
                np.atleast_3d(any_image({'img_path': x})['img']).mean(2)
                for x in pair[:2]
            )
    except Exception:  # Another check reports broken files.
        return None
    if one.shape != other.shape:
        return None
    if max(map(abs, pair.shift)) <= STEPS:
        # Rows and columns.
        shifts = [
            *((x, 0) for x in strip_shifts(one, other)),
            *((0, y) for y in strip_shifts(one.T, other.T)),
        ]
    else:
        # Names give x or y first.
        shifts = [pair.shift, pair.shift[::-1]]
    equal = (x for x in shifts if overlap_is_equal(one, other, *x))
    return next(equal, None)


def overlap_is_equal(
    one: np.ndarray, other: np.ndarray, x: int, y: int
) -> bool:
    """Whether two grey images have the pixels of their overlap in common.

    Args:
        one: Shape (H, W).
        other: Shape (H, W).
        x: Column of the first image at which the second begins.
        y: Row.
    """
    height, width = one.shape[0] - abs(y), one.shape[1] - abs(x)
    if min(height, width) < LEAST:
        return False
    parts = [
        image[max(top, 0) :, max(left, 0) :][:height, :width].ravel()
        for image, left, top in ((one, x, y), (other, -x, -y))
    ]
    plain = any(part.std() == 0 for part in parts)
    apart = np.abs(one - other).mean()
    near = np.abs(parts[0] - parts[1]).mean() < BETTER * apart
    return bool(
        near and not plain and np.corrcoef(parts[0], parts[1])[0, 1] > EQUAL
    )


def strip_shifts(one: np.ndarray, other: np.ndarray) -> list[int]:
    """Columns of a grey image at which the other may begin.

    A side of the other lies there, and nowhere else: patterns repeat.
    """
    import cv2

    found = []
    # Differences, as sky above and ground below are alike anywhere.
    image, strips = (
        np.ascontiguousarray(np.diff(x, axis=1), np.float32)
        for x in (one, other)
    )
    for side in (slice(None, STRIP), slice(-STRIP, None)):
        strip = np.ascontiguousarray(strips[:, side])
        if strip.shape[1] < STRIP or strip.std() < CONTRAST:
            continue
        scores = cv2.matchTemplate(image, strip, cv2.TM_CCOEFF_NORMED)[0]
        best = int(scores.argmax())
        apart = np.abs(np.arange(len(scores)) - best) > PEAK
        # Images of a fixed camera agree without being moved.
        shift = best if side.start is None else best - len(scores) + 1
        unique = scores[apart].max(initial=0) < SECOND
        if scores[best] > SEEN and unique and abs(shift) >= STRIP:
            found.append(shift)
    return found


def are_regular(pairs: Mapping[Overlap, tuple[int, int]]) -> bool:
    """Whether tiles of rows and columns are mostly the same pixels apart."""
    apart = defaultdict(list)
    for pair, (x, y) in pairs.items():
        steps = max(pair.shift, key=abs)
        if abs(steps) <= STEPS:
            apart[bool(x)].append((x or y) / steps)
    if not apart:
        return True
    same = [
        np.abs(np.array(x) - np.median(x)) <= JITTER for x in apart.values()
    ]
    return bool(np.concatenate(same).mean() >= MOST)


def check_tiles(
    split: Split,
    paths: Sequence[str],
    training: Sequence[str],
    looks: Mapping[str, Look],
) -> list[Finding]:
    """Report tiles that share pixels with tiles of training.

    Args:
        split: Data set for validation or test.
        paths: Its images.
        training: Those of training.
        looks: Results for all of them, by path.
    """
    some = paths[:: len(paths) // TILES + 1]
    for tile in TILES_BY_NAME:
        pairs = overlaps(some, training, looks, tile)
        if len(pairs) < max(FEWEST, CHANCE * len(some)):
            continue
        chosen = pairs[:: len(pairs) // PAIRS + 1]
        shifts = {pair: common_shift(pair) for pair in chosen}
        equal = {pair: x for pair, x in shifts.items() if x}
        if len(equal) < MOST * len(chosen) or not are_regular(equal):
            continue
        one, other = map(os.path.basename, next(iter(equal))[:2])
        return split.warn(
            f'{len(pairs) / len(some):.0%} of its images are tiles that '
            'overlap tiles of training and have their pixels there, as '
            f'{one} and {other} do, so AP is too high',
            'put all tiles of a scene into the same annotation file',
        )
    return []


def check_frames(
    splits: Sequence[Split],
    looks: Mapping[str, Look],
    alike: Callable[[str, str], bool] = show_the_same,
) -> list[Finding]:
    """Report validation images that look like neighbours in training.

    Args:
        splits: Data sets.
        looks: Results for their images, by path.
        alike: Whether two files show the same picture.
    """

    def readable(split: Split) -> list[str]:
        return [x for x in split.paths if x in looks and not looks[x].error]

    training = [x for split in splits if split.trains for x in readable(split)]
    findings = []
    for split in splits:
        paths = [] if split.trains else readable(split)
        tiles = check_tiles(split, paths, training, looks)
        if tiles:
            findings += tiles
            continue
        pairs = neighbours(paths, training)
        if len(pairs) < max(FEWEST, len(paths) / 2):
            continue
        chosen = pairs[:: len(pairs) // PAIRS + 1]
        same = sum(alike(*pair) for pair in chosen)
        # All pictures from one fixed camera look alike.
        others = [x for _, x in chosen[1:] + chosen[:1]]
        others = [*others[len(others) // 2 :], *others[: len(others) // 2]]
        chance = sum(
            alike(path, other)
            for (path, _), other in zip(chosen, others, strict=True)
        )
        if same < MOST * len(chosen) or chance > CHANCE * len(chosen):
            continue
        path, near = map(os.path.basename, pairs[0])
        findings += split.warn(
            f'{len(pairs)} of {quantity(len(paths), "image")} are numbered '
            f'next to a training image and look like it, as {path} and '
            f'{near} do: frames of one video or slices of one scan, so AP is '
            'too high',
            'put all frames of a video, or all slices of a scan, into the '
            'same annotation file',
        )
    return findings

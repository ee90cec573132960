"""Find frames of one video, or slices of one scan, in both sets."""

import os
import re
from collections.abc import Callable, Mapping, Sequence

from mmdet_retina_plus.common.text import quantity

from .findings import Finding
from .image_files import Look, show_the_same
from .split import Split, paths_of

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
        return [
            x for x in paths_of(split) if x in looks and not looks[x].error
        ]

    training = [x for split in splits if split.trains for x in readable(split)]
    findings = []
    for split in splits:
        paths = [] if split.trains else readable(split)
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

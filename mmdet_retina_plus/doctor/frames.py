"""Frames of one film, or slices of one scan, in training and validation."""

import os
import re
from collections.abc import Callable, Mapping, Sequence

from mmdet_retina_plus.common.text import quantity

from .findings import Finding
from .image_files import Look, show_the_same
from .images import paths_of
from .split import Split

NUMBERED = re.compile(r'(.*?)(\d+)(\D*)')
"""What stands before the last number of a name, the number, the rest."""
NEAR = 2
"""Difference of the numbers of neighbours."""
FEWEST, PAIRS = 6, 12
"""Neighbours that tell something, and pairs to look at."""
MOST, CHANCE = 0.7, 0.3
"""Fraction of pairs that look alike: of neighbours, and of any two images."""


def numbers_of(paths: Sequence[str]) -> dict[tuple[str, str, int], str]:
    """Paths by what their names have before and after a number, and it."""
    found = {}
    for path in paths:
        match = NUMBERED.fullmatch(os.path.basename(path))
        if match:
            found[match[1], match[3], int(match[2])] = path
    return found


def neighbours(
    paths: Sequence[str], training: Sequence[str]
) -> list[tuple[str, str]]:
    """Each image that has one of training beside it in a numbering, and it."""
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
    """Images of validation that look like their neighbours in training.

    Args:
        splits: Data sets.
        looks: At their images.
        alike: Whether two files show the same.
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
        # Pictures from one camera on its tripod are all alike.
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
            f'{len(pairs)} of {quantity(len(paths), "image")} stand beside '
            f'one of training in a numbering and look like it, as {path} and '
            f'{near} do: frames of one film or slices of one scan, so AP is '
            'too high',
            'put all frames of a film, or all slices of a scan, into the same '
            'annotation file',
        )
    return findings

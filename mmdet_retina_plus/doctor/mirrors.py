"""Find classes that flips or changes of colour turn into each other."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmdet_retina_plus.common.config_tree import dotted_items, kind
from mmdet_retina_plus.common.numbers import is_number

from .findings import Finding
from .split import Split

OPPOSITES = {
    'horizontal': (('left', 'right'), ('l', 'r')),
    'vertical': (('up', 'down'), ('top', 'bottom'), ('upper', 'lower')),
}
DIRECTIONS = {
    'HorizontalFlip': ('horizontal',),
    'VerticalFlip': ('vertical',),
    'Flip': tuple(OPPOSITES),
}
"""Flip directions of Albumentations transforms."""


COLOURS = (
    *('red', 'orange', 'yellow', 'green', 'turquoise', 'cyan', 'azure'),
    *('blue', 'violet', 'purple', 'magenta', 'pink', 'rose', 'brown'),
)
RECOLOURS = ('PhotoMetricDistortion', 'ChannelShuffle', 'ToGray', 'InvertImg')
"""Transforms that exchange or remove colours: the first swaps channels."""


def words(name: str) -> tuple[str, ...]:
    """Split a class name: arrow_left, ArrowLeft and 'arrow left' are equal."""
    parts = re.findall(r'[A-Z]?[a-z]+|[A-Z]+|\d+', name)
    return tuple(part.casefold() for part in parts)


def twins(classes: Sequence[str], direction: str) -> tuple[str, str] | None:
    """Two classes whose names are mirror images of each other."""
    swap = {
        one: other
        for pair in OPPOSITES[direction]
        for one, other in (pair, pair[::-1])
    }
    known = {words(name): name for name in classes}
    for parts, name in known.items():
        mirror = tuple(swap.get(part, part) for part in parts)
        if mirror != parts and mirror in known:
            return name, known[mirror]
    return None


def coloured(classes: Sequence[str]) -> tuple[str, ...]:
    """Two classes whose names differ only in a colour, () if none do."""
    known: dict[tuple[str, ...], str] = {}
    for name in classes:
        parts = words(name)
        plain = tuple('' if x in COLOURS else x for x in parts)
        if plain != parts and known.setdefault(plain, name) != name:
            return known[plain], name
    return ()


def directions(step: Mapping) -> set[str]:
    """Directions in which a step may flip."""
    chance = step.get('prob', step.get('p'))
    chances = chance if isinstance(chance, list | tuple) else [chance]
    if not any(x is None or (is_number(x) and x > 0) for x in chances):
        return set()
    if kind(step) in DIRECTIONS:
        return set(DIRECTIONS[kind(step)])
    if kind(step) != 'RandomFlip':
        return set()
    given = step.get('direction', 'horizontal')
    given = [given] if isinstance(given, str) else given or []
    both = 'diagonal' in given
    return {x for x in OPPOSITES if both or x in given}


def flips(cfg: Mapping) -> Iterator[tuple[str, Mapping]]:
    """Yield key and config of each step of training and TTA."""
    read: dict[str, Any] = {
        name: cfg.get(name) for name in ('train_dataloader', 'tta_pipeline')
    }
    for key, value in dotted_items(read):
        if isinstance(value, Mapping):
            yield key, value


def check_mirrors(cfg: Mapping, splits: Sequence[Split]) -> list[Finding]:
    """Report flips and colours that turn one class into another."""
    classes = next((x.classes for x in splits if x.trains), ())
    # Another check reports invalid names.
    if not all(isinstance(x, str) for x in classes):
        return []
    found = {x: twins(classes, x) for x in OPPOSITES}
    colours = coloured(classes)
    findings = []
    for key, step in flips(cfg):
        if colours and kind(step) in RECOLOURS and key.startswith('train'):
            findings.append(
                Finding(
                    'warning',
                    key,
                    f'{kind(step)} changes colours at random, as those of '
                    f'{colours[0]} and {colours[1]}, but keeps the label',
                    f"dict(type='YOLOXHSVRandomAug', hue_delta=0) as {key}, "
                    'which changes only saturation and brightness',
                )
            )
        for direction in sorted(directions(step)):
            pair = found[direction]
            if pair is None:
                continue
            name = 'p' if 'p' in step else 'prob'
            findings.append(
                Finding(
                    'warning',
                    key,
                    f'a {direction} flip turns {pair[0]} into {pair[1]}, but '
                    'keeps the label',
                    f'{key}.{name}=0.0, if the names mean sides of the image',
                )
            )
    return findings

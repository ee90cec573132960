"""Names for the points of a sweep, whatever their keys and values are."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

CONFIG = 'config'
"""Key of a point that names a config of its own, and needs no prefix."""
UNCHANGED = 'as in the config'
"""Label of a point without changes."""
LONGEST_LABEL = 46
"""Characters of a label in a picture."""
LONGEST_VALUE = 16
"""Characters of a value that is not shortened in one."""


def identity(value: Any) -> str:
    """Text that is the same for values that mean the same to a config.

    2 is 2.0, and a tuple is the list that a JSON storage makes of it, but True
    is not 1.
    """
    if isinstance(value, dict):
        items = sorted(
            (str(key), identity(item)) for key, item in value.items()
        )
        return f'{{{", ".join(f"{key!r}: {item}" for key, item in items)}}}'
    if isinstance(value, list | tuple):
        return f'[{", ".join(map(identity, value))}]'
    if isinstance(value, set):
        return f'{{{", ".join(sorted(map(identity, value)))}}}'
    if isinstance(value, float) and value.is_integer():
        return repr(int(value))
    return repr(value)


def keys_of(points: Iterable[dict[str, Any]]) -> list[str]:
    """Every key of any point, in order of appearance."""
    return list(dict.fromkeys(key for point in points for key in point))


def column(points: Iterable[dict[str, Any]], key: str) -> list[str]:
    """Identity of a key's value at each point, empty where it is missing."""
    return [identity(point[key]) if key in point else '' for point in points]


def telling_keys(points: Sequence[dict[str, Any]]) -> list[str]:
    """Keys by which points differ, without those that repeat another one.

    The scale of training, validation and test images that change together is
    one thing to tell. All keys where there is one point only.
    """
    seen: dict[tuple[str, ...], str] = {}
    keys = keys_of(points)
    for key in keys:
        values = tuple(column(points, key))
        if len(set(values)) > 1:
            seen.setdefault(values, key)
    return list(seen.values()) or keys


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """The shortest end of each dotted key that no other key has."""
    return {key: shorten(key, [k for k in keys if k != key]) for key in keys}


def shorten(key: str, others: Sequence[str]) -> str:
    parts = key.split('.')
    for count in range(1, len(parts)):
        end = '.'.join(parts[-count:])
        # An index alone says nothing: `pipeline.2`, not `2`.
        if not parts[-count].isidentifier():
            continue
        if not any(f'.{other}'.endswith(f'.{end}') for other in others):
            return end
    return key


def show_value(value: Any) -> str:
    """A value on one line of printable characters."""
    if isinstance(value, str) and value.isprintable() and value.strip():
        return value
    return repr(value)


def config_names(points: Iterable[dict[str, Any]]) -> dict[str, str]:
    """The shortest end of each config's path that no other config has."""
    paths = {point[CONFIG] for point in points if CONFIG in point}
    parts = {path: Path(path).with_suffix('').parts for path in paths}
    names = {}
    for path, own in parts.items():
        others = [other for other in parts.values() if other != own]
        count = 1
        while any(other[-count:] == own[-count:] for other in others):
            count += 1
        names[path] = '/'.join(own[-count:])
    return names


def show_point(
    point: dict[str, Any], names: Mapping[str, str]
) -> dict[str, str]:
    """A point's values, each on one line.

    Args:
        point: Key to value.
        names: Of configs, by `config_names`.
    """
    return {
        key: show_value(names[value] if key == CONFIG else value)
        for key, value in point.items()
    }


def join(
    values: dict[str, str], keys: Iterable[str], names: dict[str, str]
) -> str:
    parts = [
        f'{show_value(names[key])}={values[key]}'
        for key in keys
        if key in values
    ]
    return ', '.join(parts) or UNCHANGED


def full_label(point: dict[str, Any]) -> str:
    """All of a point, its keys as they are."""
    values = show_point(point, config_names([point]))
    return join(values, point, {key: key for key in point})


def label_points(points: Sequence[dict[str, Any]]) -> list[str]:
    """A label a point, of any length, from what tells them apart."""
    keys = telling_keys(points)
    names = short_keys(keys_of(points))
    configs = config_names(points)
    return [join(show_point(point, configs), keys, names) for point in points]


def short_labels(
    points: Sequence[dict[str, Any]], keys: Sequence[str] | None = None
) -> list[str]:
    """A label a point for pictures, another one for each label.

    Args:
        points: Points in any order.
        keys: Keys that the labels name; None for those by which the points
            differ.
    """
    keys = telling_keys(points) if keys is None else keys
    names = short_keys(keys_of(points))
    configs = config_names(points)
    shown = [show_point(point, configs) for point in points]
    values: list[dict[str, str]] = [{} for _ in points]
    for key in keys:
        owners = [i for i, point in enumerate(points) if key in point]
        texts = without_shared([shown[i][key] for i in owners])
        for i, text in zip(owners, texts, strict=True):
            values[i][key] = text
    return clip_labels([join(part, keys, names) for part in values])


def without_shared(texts: list[str]) -> list[str]:
    """Texts without the words that all begin and end with, if one is long."""
    if len(set(texts)) < 2 or max(map(len, texts)) <= LONGEST_VALUE:
        return texts
    words = [re.findall(r'[\w.]+|[^\w.]', text) for text in texts]
    start = count_shared(words)
    end = count_shared([one[start:][::-1] for one in words])
    # A sign alone, or nothing, would not tell much.
    while end and not all(is_told(one[start:-end]) for one in words):
        end -= 1
    parts = [one[start : len(one) - end] for one in words]
    while start and not all(map(is_told, parts)):
        start -= 1
        parts = [one[start : len(one) - end] for one in words]
    return [
        '…' * bool(start) + ''.join(part) + '…' * bool(end) for part in parts
    ]


def is_told(words: list[str]) -> bool:
    """Whether there is more than signs between words."""
    return any(word[0].isalnum() for word in words)


def count_shared(lists: list[list[str]]) -> int:
    """How many items all begin with, of lists that are not all alike."""
    columns = enumerate(zip_longest(*lists))
    return next(i for i, items in columns if len(set(items)) > 1)


def clip(text: str, longest: int = LONGEST_LABEL) -> str:
    """A text with its middle left out if it is long."""
    if len(text) <= longest:
        return text
    tail = longest // 3
    return f'{text[: longest - tail - 1]}…{text[-tail:]}'


def clip_labels(labels: Iterable[str]) -> list[str]:
    """Clipped labels, numbered where they would be the same."""
    clipped: list[str] = []
    for text in map(clip, labels):
        count, name = 1, text
        while name in clipped:
            count += 1
            name = f'{text} ({count})'
        clipped.append(name)
    return clipped

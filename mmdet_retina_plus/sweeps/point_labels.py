"""Labels of the points of a sweep, for any keys and values."""

import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

CONFIG = 'config'
"""Key of a point that names a config of its own, and needs no prefix."""
UNCHANGED = 'as in the config'
"""Label of a point without changes."""
LONGEST_LABEL = 46
"""Characters of a label in a picture."""
LONGEST_VALUE = 16
"""Maximum characters of a value that is not shortened in a label."""


def identity(value: Any) -> str:
    """Text that is equal for values that a config treats alike.

    2 equals 2.0, and a tuple equals the list that JSON makes of it, but True
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

    For example, scales of training, validation and test images that change
    together count once. All keys if there is one point only.
    """
    seen: dict[tuple[str, ...], str] = {}
    keys = keys_of(points)
    for key in keys:
        values = tuple(column(points, key))
        if len(set(values)) > 1:
            seen.setdefault(values, key)
    return list(seen.values()) or keys


def short_ends(names: Sequence[str], separator: str) -> dict[str, str]:
    """The shortest end of each name that no other name has.

    An index alone says nothing: `pipeline.2`, not `2`.
    """
    ends = {}
    for name in names:
        others = [separator + other for other in names if other != name]
        parts = name.split(separator)
        # The last and longest end is the whole name.
        for start in reversed(range(len(parts))):
            end = separator.join(parts[start:])
            tells = parts[start] and not parts[start].isdigit()
            if tells and not any(x.endswith(separator + end) for x in others):
                break
        ends[name] = end
    return ends


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """The shortest end of each dotted key that no other key has."""
    return short_ends(keys, '.')


def show_value(value: Any) -> str:
    """A value on one line of printable characters."""
    if isinstance(value, str) and value.isprintable() and value.strip():
        return value
    return repr(value)


def show_points(points: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """The values of points, each on one line; configs by a short name."""
    configs = {point[CONFIG] for point in points if CONFIG in point}
    stems = {config: config.removesuffix('.py') for config in configs}
    names = short_ends(list(stems.values()), '/')
    return [
        {
            key: show_value(names[stems[value]] if key == CONFIG else value)
            for key, value in point.items()
        }
        for point in points
    ]


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
    """Complete text of a point, with its full keys."""
    (values,) = show_points([point])
    return join(values, point, {key: key for key in point})


def label_points(points: Sequence[dict[str, Any]]) -> list[str]:
    """One label per point, of any length, from what tells them apart."""
    keys = telling_keys(points)
    names = short_keys(keys_of(points))
    return [join(shown, keys, names) for shown in show_points(points)]


def short_labels(
    points: Sequence[dict[str, Any]], keys: Sequence[str] | None = None
) -> list[str]:
    """One label per point for pictures, unique where `label_points` is.

    Args:
        points: Points in any order.
        keys: Keys that the labels name; None for those by which the points
            differ.
    """
    keys = telling_keys(points) if keys is None else keys
    names = short_keys(keys_of(points))
    values = show_points(points)
    for key in keys:
        having = [shown for shown in values if key in shown]
        texts = without_shared([shown[key] for shown in having])
        for shown, text in zip(having, texts, strict=True):
            shown[key] = text
    return clip_labels([join(shown, keys, names) for shown in values])


def without_shared(texts: list[str]) -> list[str]:
    """Strip common first and last words from texts, if one is long."""
    if len(set(texts)) < 2 or max(map(len, texts)) <= LONGEST_VALUE:
        return texts
    words = [re.findall(r'[\w.]+|[^\w.]', text) for text in texts]
    start = count_shared(words)
    end = count_shared([one[start:][::-1] for one in words])
    parts = cut(words, start, end)
    # A sign alone, or nothing, would not tell much.
    while (start or end) and not all(map(is_told, parts)):
        start, end = (start, end - 1) if end else (start - 1, end)
        parts = cut(words, start, end)
    return [
        '…' * bool(start) + ''.join(part) + '…' * bool(end) for part in parts
    ]


def cut(lists: list[list[str]], start: int, end: int) -> list[list[str]]:
    """Drop this many items at the start and end of lists."""
    return [items[start : len(items) - end] for items in lists]


def is_told(words: list[str]) -> bool:
    """Whether there is more than signs between words."""
    return any(word[0].isalnum() for word in words)


def count_shared(lists: list[list[str]]) -> int:
    """Number of items that all lists begin with; not all lists are equal."""
    columns = enumerate(zip_longest(*lists))
    return next(i for i, items in columns if len(set(items)) > 1)


def clip(text: str, longest: int = LONGEST_LABEL) -> str:
    """Shorten a long text in the middle."""
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

"""Names for the points of a sweep, whatever their keys and values are."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard

UNCHANGED = 'as in the config'
"""Label of a point without changes."""
LONGEST_LABEL = 46
"""Characters of a label in a picture."""


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
    if isinstance(value, float) and value.is_integer():
        return repr(int(value))
    return repr(value)


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value is one; True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


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


def label(
    point: dict[str, Any], keys: Iterable[str], names: dict[str, str]
) -> str:
    """`gamma=2.0, alpha=0.25`, of those keys that the point has."""
    parts = [
        f'{show_value(names[key])}={show_value(point[key])}'
        for key in keys
        if key in point
    ]
    return ', '.join(parts) or UNCHANGED


def full_label(point: dict[str, Any]) -> str:
    """All of a point, its keys as they are."""
    return label(point, point, {key: key for key in point})


def label_points(points: Sequence[dict[str, Any]]) -> list[str]:
    """A label a point, of any length, from what tells them apart."""
    keys = telling_keys(points)
    names = short_keys(keys_of(points))
    return [label(point, keys, names) for point in points]


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

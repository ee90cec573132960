"""Convert a value of a sweep to the type that the config has for its key."""

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmdet_retina_plus.common.config_tree import dotted_items
from mmdet_retina_plus.common.numbers import is_number
from mmdet_retina_plus.common.suggestions import did_you_mean

from .config_lookup import is_free, parameters

COUNTS = re.compile(
    r'batch_size|num_\w+|\w*interval|nms_pre|max_per_img|max_(iters|epochs)'
)
"""Keys of parts without a class that are whole numbers."""


def fit(cfg: Any, key: str, value: Any) -> Any:
    """Convert a value to the type that the config has for its key.

    Raises:
        ValueError: The key is unknown, or the types differ.
    """
    try:
        return fit_known(cfg, key, value)
    except UnknownKeyError as error:
        if is_free(error.key):
            return value
        raise


def fit_known(cfg: Any, key: str, value: Any) -> Any:
    """Convert a value for a key that the config or a class has.

    Raises:
        ValueError: Neither has the key, or the types differ.
    """
    *path, name = key.split('.')
    parent = cfg
    for position, part in enumerate(path):
        parent = child(parent, part, cfg, '.'.join(path[: position + 1]))
    if isinstance(parent, list | tuple):
        return convert(child(parent, name, cfg, key), value, key)
    if not isinstance(parent, Mapping):
        raise UnknownKeyError(key, cfg)
    if name in parent:
        check_inside(cfg, key, parent[name], value)
        check_whole(parent, name, value, key)
        return convert(parent[name], value, key)
    if not parent:
        # For example clip_grad, which is None until it has a key.
        return value
    accepted = parameters(parent)
    if len(path) == 1 and path[0].endswith('_dataloader'):
        from torch.utils.data import DataLoader

        accepted |= inspect.signature(DataLoader).parameters
    if name not in accepted:
        arguments = ['.'.join([*path, x]) for x in accepted]
        raise UnknownKeyError(key, cfg, arguments)
    default = accepted[name].default
    return convert(default, value, key) if is_number(default) else value


def check_inside(cfg: Any, key: str, current: Any, value: Any) -> None:
    """Check the keys of a mapping that is merged into one of its type.

    Raises:
        ValueError: A key is unknown, or the types differ.
    """
    if not isinstance(current, Mapping) or not isinstance(value, Mapping):
        return
    same_types = (None, current.get('type'))
    if '_delete_' in value or value.get('type') not in same_types:
        return
    for name, inner in value.items():
        # A key of mmengine's custom_keys may have dots itself.
        if '.' not in name:
            fit(cfg, f'{key}.{name}', inner)


def check_whole(parent: Mapping, name: str, value: Any, key: str) -> None:
    """Refuse a fraction for a count.

    Other whole numbers may become fractions, as mmdet writes 0, 1 or 35 for
    many floats.

    Raises:
        ValueError: The value is a fraction.
    """
    if not is_number(value) or float(value).is_integer():
        return
    current, argument = parent[name], parameters(parent).get(name)
    if argument is None:
        counts = COUNTS.fullmatch(name) is not None
    else:
        counts = argument.annotation is int and not isinstance(
            argument.default, float
        )
    if counts:
        raise ValueError(
            f'{key} is {value!r}, but the config has {current!r}: give a '
            'whole number'
        )


def convert(current: Any, value: Any, key: str) -> Any:
    """Convert a value to the type of the current one.

    A whole number becomes a float where the config has a float, and the
    reverse. A fraction may replace a whole number, see `check_whole`. None and
    parts with a type fit anywhere.

    Raises:
        ValueError: The types differ.
    """
    if any(x is None or isinstance(x, Mapping) for x in (current, value)):
        return value
    # For example an evaluator's metric, one or several.
    if {type(current), type(value)} <= {str, list, tuple}:
        return value
    if is_number(current) and is_number(value):
        if isinstance(current, float):
            return float(value)
        return int(value) if float(value).is_integer() else value
    # One number for all often replaces one for each, and the reverse.
    if many_or_number(current) and many_or_number(value):
        return value
    if type(value) is type(current):
        return value
    raise ValueError(
        f'{key} is {value!r}, but the config has {current!r}: give a value '
        f'of type {type(current).__name__}'
    )


def many_or_number(value: Any) -> bool:
    return isinstance(value, list | tuple) or is_number(value)


def child(parent: Any, part: str, cfg: Any, key: str) -> Any:
    """The part at a key of a mapping or an index of a list.

    An argument that is None or not set counts as an empty mapping.
    """
    if isinstance(parent, Mapping):
        if parent.get(part) is not None:
            return parent[part]
        if part in parent or part in parameters(parent):
            return {}
    many = isinstance(parent, list | tuple) and part.isdigit()
    if many and int(part) < len(parent):
        return parent[int(part)]
    raise UnknownKeyError(key, cfg)


class UnknownKeyError(ValueError):
    """Neither the config nor a class has a key; names the nearest one.

    Args:
        key: First missing part of a dotted key.
        cfg: Config as a dict.
        more: Other keys that it might have.
    """

    def __init__(self, key: str, cfg: Any, more: Sequence[str] = ()) -> None:
        self.key = key
        known = [*dict(dotted_items(cfg)), *more]
        # A typo is most often in the last part: look at its neighbours first.
        parent = key.rpartition('.')[0]
        beside = [x for x in known if x.rpartition('.')[0] == parent]
        hint = did_you_mean(key, beside)
        hint = hint or did_you_mean(key, known, always=True)
        super().__init__(
            f'the config has no {key}{hint} (If the key is right, add it to '
            'the config first)'
        )

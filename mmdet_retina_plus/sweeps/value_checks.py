"""Values of a sweep, checked against the config before anything starts."""

import inspect
import math
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from mmdet_retina_plus.common.numbers import is_number
from mmdet_retina_plus.common.suggestions import did_you_mean

from .config_lookup import (
    arguments_of,
    dotted_items,
    is_free,
    names_of,
    parameters,
    parts_read,
    registries,
    without_scopes,
)
from .point_labels import full_label
from .spec import Point, Sweep, distinct
from .training_checks import check_run

COUNTS = re.compile(
    r'batch_size|num_\w+|\w*interval|nms_pre|max_per_img|max_(iters|epochs)'
)
"""Keys of parts without a class that are whole numbers."""


def check_sweep(sweep: Sweep, cfg: Any, prune: bool = False) -> list[Point]:
    """The points with values of the config's types.

    The model of every point is built once, so that a value that its class
    refuses is found here and not hours later.

    Args:
        sweep: What is to be trained.
        cfg: The mmengine config, as loaded.
        prune: Whether trials that fall behind are to be ended.

    Raises:
        ValueError: A key that neither the config nor a class knows, a value
            of another type than the config's, a model that cannot be built,
            or a run that would have nothing to compare.
    """
    checked = []
    for point in sweep.points:
        fitting, changed = apply_point(sweep, point, cfg)
        try:
            if changed.model != cfg.model:
                check_model(changed)
            check_run(changed, sweep.metric, prune)
        except ValueError as error:
            raise ValueError(f'Point {full_label(point)}: {error}') from error
        checked.append(fitting)
    return distinct(checked)


def apply_point(sweep: Sweep, point: Point, cfg: Any) -> tuple[Point, Any]:
    """The point with values of the config's types, and the changed config.

    Raises:
        ValueError: A key that nothing knows, or a value of another type.
    """
    changes = sweep.changes(point)
    try:
        if all(key.startswith('test_') for key in changes):
            raise ValueError(
                'a sweep validates and does not test: change what begins '
                'with val_'
            )
        fitting, changed = merge(changes, cfg)
    except ValueError as error:
        raise ValueError(f'Point {full_label(point)}: {error}') from error
    return dict(zip(point, fitting.values(), strict=True)), changed


def merge(changes: Mapping[str, Any], cfg: Any) -> tuple[dict[str, Any], Any]:
    """Changes with values of the config's types, and the changed config.

    Args:
        changes: Dotted key to value.
        cfg: Stays as it is.

    Raises:
        ValueError: A key that nothing knows, or a value of another type.
    """
    changed = cfg.copy()
    fitting = dict(changes)
    for key, value in changes.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f'{key} is {value}: give a finite number')
        if any(other.startswith(f'{key}.') for other in changes):
            raise ValueError(
                f'{key} contains another key, so which of them counts is not '
                'clear: set one'
            )
    # What a class accepts is known when its type is.
    for key in sorted(changes, key=lambda name: not name.endswith('type')):
        settings = changed.to_dict()
        check_read(key, cfg)
        check_type(key, changes[key], settings)
        try:
            fitting[key] = fit(settings, key, changes[key])
        except UnknownKeyError:
            # Beside another key of a part that was None before.
            fitting[key] = fit(cfg.to_dict(), key, changes[key])
        try:
            # It takes `_delete_` out of what it is given.
            changed.merge_from_dict({key: deepcopy(fitting[key])})
        except AttributeError:
            raise ValueError(
                f'{key} is an item of a list of plain values, which mmengine '
                'cannot change: set the list'
            ) from None
        except (TypeError, KeyError, IndexError) as error:
            raise ValueError(f'{key}: {error}') from error
    if seed_of(changed) != seed_of(cfg):
        raise ValueError(
            'seeds are no change of the config: set `seeds` of the sweep, or '
            'give --seeds'
        )
    return fitting, changed


def seed_of(cfg: Any) -> Any:
    return (cfg.get('randomness') or {}).get('seed')


def check_read(key: str, cfg: Any) -> None:
    """Refuse a part of the config that no training reads.

    Names such as `train_pipeline` and `data_root` only help to write the
    config: what uses them has a copy.

    Raises:
        ValueError: With the copies.
    """
    top, _, rest = key.partition('.')
    read = parts_read()
    if top not in cfg or top in read:
        return
    settings = without_scopes(cfg.to_dict())
    wanted = settings[top]
    copies = [
        f'{name}.{rest}' if rest else name
        for name, value in dotted_items(settings)
        if name.partition('.')[0] in read
        and type(value) is type(wanted)
        and value == wanted
        # A number may be the same by chance, and a hook may read it.
        and (
            (value and isinstance(value, str | list | tuple | dict))
            or name.rpartition('.')[2] == top
        )
    ]
    if copies:
        others = f' and {len(copies) - 3} more' if len(copies) > 3 else ''
        raise ValueError(
            f'no training reads {key}, it only helps to write the config: '
            f'change {", ".join(copies[:3])}{others}'
        )


def check_type(key: str, value: Any, settings: Mapping) -> None:
    """Refuse a type that the registries of the config's own do not have.

    Args:
        key: Dotted.
        value: A type where the key ends with it, or a part with one.
        settings: The config.

    Raises:
        ValueError: With the nearest name.
    """
    if isinstance(value, Mapping):
        key, value = f'{key}.type', value.get('type')
    if key.rpartition('.')[2] != 'type' or not isinstance(value, str):
        return
    current = dict(dotted_items(settings)).get(key)
    if not isinstance(current, str):
        return
    homes = [home for home in registries() if home.get(current)]
    if homes and not any(home.get(value) for home in homes):
        hint = did_you_mean(value, names_of(homes), always=True)
        raise ValueError(
            f'{key} is {value!r}, which is not beside {current} in a '
            f'registry{hint}'
        )


def check_model(cfg: Any) -> None:
    """Build the model of a point.

    Raises:
        ValueError: It cannot be built.
    """
    from mmdet.registry import MODELS

    try:
        MODELS.build(cfg.model)
    except Exception as error:  # Whatever a constructor may raise.
        raise ValueError(
            f'the model cannot be built, {type(error).__name__}: {error}'
        ) from error


def fit(cfg: Any, key: str, value: Any) -> Any:
    """A value as the config's type wants it.

    Raises:
        ValueError: Nothing has this key, or the types differ.
    """
    try:
        return fit_known(cfg, key, value)
    except UnknownKeyError:
        if is_free(key, cfg):
            return value
        raise


def fit_known(cfg: Any, key: str, value: Any) -> Any:
    """A value for a key that the config or a class has.

    Raises:
        ValueError: Neither has it, or the types differ.
    """
    *path, name = key.split('.')
    parent = cfg
    for position, part in enumerate(path):
        parent = child(parent, part, cfg, '.'.join(path[: position + 1]))
    if isinstance(parent, list | tuple):
        return convert(child(parent, name, cfg, key), value, key)
    if not isinstance(parent, Mapping):
        raise unknown(key, cfg)
    if name in parent:
        check_inside(cfg, key, parent[name], value)
        check_whole(parent, name, value, key)
        return convert(parent[name], value, key)
    if not parent:
        # Such as clip_grad, which is None until it has a key.
        return value
    accepted = parameters(parent)
    if len(path) == 1 and path[0].endswith('_dataloader'):
        from torch.utils.data import DataLoader

        accepted |= dict.fromkeys(inspect.signature(DataLoader).parameters)
    if name not in accepted:
        raise unknown(key, cfg, ['.'.join([*path, x]) for x in accepted])
    default = accepted[name]
    return convert(default, value, key) if is_number(default) else value


def check_whole(parent: Mapping, name: str, value: Any, key: str) -> None:
    """Refuse a fraction where things are counted.

    Elsewhere it may take the place of a whole number, as mmdet writes 0, 1 or
    35 for many a float.

    Raises:
        ValueError: It is one.
    """
    if not is_number(value) or float(value).is_integer():
        return
    current, argument = parent[name], arguments_of(parent).get(name)
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


def check_inside(cfg: Any, key: str, current: Any, value: Any) -> None:
    """Refuse keys in a mapping that is to be merged into another of its type.

    Raises:
        ValueError: Nothing has such a key, or the types differ.
    """
    if not isinstance(current, Mapping) or not isinstance(value, Mapping):
        return
    if '_delete_' in value or value.get('type') not in (
        None,
        current.get('type'),
    ):
        return
    for name, inner in value.items():
        # A key of mmengine's custom_keys may have dots itself.
        if '.' not in name:
            fit(cfg, f'{key}.{name}', inner)


def child(parent: Any, part: str, cfg: Any, key: str) -> Any:
    """What a key of a mapping or an index of a list leads to.

    An argument that is None, or not set, is an empty mapping still.
    """
    if isinstance(parent, Mapping):
        if parent.get(part) is not None:
            return parent[part]
        if part in parent or part in parameters(parent):
            return {}
    many = isinstance(parent, list | tuple) and part.isdigit()
    if many and int(part) < len(parent):
        return parent[int(part)]
    raise unknown(key, cfg)


class UnknownKeyError(ValueError):
    """Neither the config nor a class has it."""


def unknown(key: str, cfg: Any, more: Sequence[str] = ()) -> UnknownKeyError:
    """An error that names the nearest key."""
    known = [*dict(dotted_items(cfg)), *more]
    # A slip is most often in the last part, so look at its neighbours first.
    parent = key.rpartition('.')[0]
    beside = [x for x in known if x.rpartition('.')[0] == parent]
    hint = did_you_mean(key, beside) or did_you_mean(key, known, always=True)
    return UnknownKeyError(
        f'the config has no {key}{hint} (If the key is right, write it into '
        'the config first)'
    )


def convert(current: Any, value: Any, key: str) -> Any:
    """A value of the type of the current one.

    A whole number becomes a float where the config has one, and the other way
    round. A fraction may take the place of a whole number, since mmdet writes
    0 for many a 0.0. None and parts with a type of their own fit anywhere.

    Raises:
        ValueError: The types differ.
    """
    if current is None or value is None:
        return value
    if isinstance(current, Mapping) or isinstance(value, Mapping):
        return value
    # Such as an evaluator's metric, one or several.
    if {type(current), type(value)} <= {str, list, tuple}:
        return value
    if is_number(current) and is_number(value):
        if isinstance(current, float):
            return float(value)
        return int(value) if float(value).is_integer() else value
    # A number for all is often as good as one for each, and the reverse.
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

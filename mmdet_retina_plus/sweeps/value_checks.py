"""Check the values of a sweep against the config before it starts."""

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from mmdet_retina_plus.common.config_file import check_read
from mmdet_retina_plus.common.config_tree import dotted_items, seed_of
from mmdet_retina_plus.common.suggestions import did_you_mean

from .config_lookup import names_of, registries
from .fit_value import UnknownKeyError, fit
from .point_labels import full_label
from .spec import Point, Sweep, distinct
from .training_checks import check_run


def check_sweep(
    sweep: Sweep, configs: Mapping[str, Any], prune: bool = False
) -> list[Point]:
    """Convert the points to values of the config's types.

    The model of every point is built once, so that a value refused by its
    class is found now and not hours later.

    Args:
        sweep: Sweep to check.
        configs: Config of each of `sweep.configs`, as mmengine loads it.
        prune: Whether trials below the median are ended.

    Raises:
        ValueError: Neither the config nor a class has a key, a value has
            another type than the config's, a model cannot be built, or there
            would be nothing to compare.
    """
    checked = []
    built = set()
    for point in sweep.points:
        cfg = configs[sweep.config_of(point)]
        try:
            fitting, changed = apply_point(sweep, point, cfg)
            model = repr(changed.model)
            if model not in built:
                check_model_builds(changed)
                built.add(model)
            check_run(changed, sweep.metric, prune)
        except ValueError as error:
            raise ValueError(f'Point {full_label(point)}: {error}') from error
        checked.append(fitting)
    return distinct(checked)


def apply_point(sweep: Sweep, point: Point, cfg: Any) -> tuple[Point, Any]:
    """The point with values of the config's types, and the changed config.

    Raises:
        ValueError: A key is unknown, or a value has another type.
    """
    changes = sweep.changes(point)
    if changes and all(key.startswith('test_') for key in changes):
        raise ValueError(
            'a sweep validates and does not test: change keys that start with '
            'val_'
        )
    fitting, changed = merge(changes, cfg)
    return {
        key: fitting.get(sweep.prefix + key, value)
        for key, value in point.items()
    }, changed


def merge(changes: Mapping[str, Any], cfg: Any) -> tuple[dict[str, Any], Any]:
    """Changes with values of the config's types, and the changed config.

    Args:
        changes: Dotted key to value.
        cfg: Config, which is not changed.

    Raises:
        ValueError: A key is unknown, or a value has another type.
    """
    changed = cfg.copy()
    fitting = dict(changes)
    for key, value in changes.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f'{key} is {value}: use a finite number')
        if any(other.startswith(f'{key}.') for other in changes):
            raise ValueError(
                f'{key} contains another key of this point, which is '
                'ambiguous: set one of them'
            )
    # Types come first: they decide which arguments are accepted.
    for key in sorted(changes, key=lambda name: not name.endswith('type')):
        settings = changed.to_dict()
        check_read(key, cfg)
        check_type(key, changes[key], settings)
        try:
            fitting[key] = fit(settings, key, changes[key])
        except UnknownKeyError:
            # The part was None before another key of this point set it.
            fitting[key] = fit(cfg.to_dict(), key, changes[key])
        try:
            # It pops `_delete_` from its argument.
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
            'a seed is not a change of the config: set `seeds` of the sweep '
            'or use --seeds'
        )
    return fitting, changed


def check_type(key: str, value: Any, settings: Mapping) -> None:
    """Refuse a type that is not in a registry of the config's own type.

    Args:
        key: Dotted key.
        value: A type if the key ends with `type`, or a part with a type.
        settings: Config as a dict.

    Raises:
        ValueError: The type is not registered; the nearest is named.
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
            f'{key} is {value!r}, which is not in a registry of '
            f'{current}{hint}'
        )


def check_model_builds(cfg: Any) -> None:
    """Check that the model of a point can be built.

    Raises:
        ValueError: The model cannot be built.
    """
    from mmdet.registry import MODELS

    try:
        MODELS.build(cfg.model)
    except Exception as error:  # Constructors may raise anything.
        raise ValueError(
            f'the model cannot be built, {type(error).__name__}: {error}'
        ) from error

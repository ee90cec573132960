"""Values of a sweep, checked against the config before anything starts."""

import inspect
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from mmdet_retina_plus.tools.read_data import annotation_path, datasets_in

from .points import full_label, is_number
from .spec import Point, Sweep, distinct
from .training import total_steps

READ_BY_NAME = (
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
)
"""Keys at the top of a config that mmengine looks up, beside its Runner's."""
FREE = (
    'default_hooks',
    'env_cfg',
    'optim_wrapper.clip_grad',
    'optim_wrapper.constructor',
    'optim_wrapper.paramwise_cfg',
    'randomness',
)
"""Parts in which mmengine looks for more names than classes tell."""
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
        check_read(key, cfg)
        check_type(key, changes[key], changed.to_dict())
        try:
            fitting[key] = fit(changed.to_dict(), key, changes[key])
        except UnknownKeyError:
            if not is_free(key, cfg):
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


def parts_read() -> set[str]:
    """Keys at the top of a config that a training may read."""
    from mmengine.runner import Runner

    return {*inspect.signature(Runner).parameters, *READ_BY_NAME}


def is_free(key: str, cfg: Any) -> bool:
    """Whether mmengine may read a key that neither config nor class has."""
    top = key.partition('.')[0]
    return (top not in cfg and top in parts_read()) or any(
        f'{key}.'.startswith(f'{name}.') for name in FREE
    )


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


def without_scopes(value: Any) -> Any:
    """A config without the marks of mmengine on what came from mmdet's."""
    if isinstance(value, Mapping):
        return {
            key: without_scopes(item)
            for key, item in value.items()
            if key != '_scope_'
        }
    if isinstance(value, list | tuple):
        return type(value)(map(without_scopes, value))
    return value


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
    current = dict(dotted_items(settings)).get(key)
    texts = isinstance(current, str) and isinstance(value, str)
    if not texts or key.rpartition('.')[2] != 'type':
        return
    homes = [home for home in registries() if home.get(current)]
    if homes and not any(home.get(value) for home in homes):
        near = get_close_matches(value, names_of(homes), n=1, cutoff=0)[0]
        raise ValueError(
            f'{key} is {value!r}, which is not beside {current} in a '
            f'registry; did you mean {near}?'
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
    near = get_close_matches(key, beside, n=1) or get_close_matches(
        key, known, n=1, cutoff=0
    )
    return UnknownKeyError(
        f'the config has no {key}; did you mean {near[0]}? (If the key is '
        'right, write it into the config first)'
    )


def dotted_items(config: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """All dotted keys of a config, those of parts too, with their values."""
    items: Any = ()
    if isinstance(config, Mapping):
        items = config.items()
    elif isinstance(config, list | tuple):
        items = enumerate(config)
    for name, value in items:
        yield f'{prefix}{name}', value
        yield from dotted_items(value, f'{prefix}{name}.')


def parameters(config: Mapping) -> dict[str, Any]:
    """Arguments that the class of a config takes beside those that it sets.

    Returns:
        Name to default; None where there is no default.
    """
    return {
        name: None if x.default is x.empty else x.default
        for name, x in arguments_of(config).items()
    }


def arguments_of(config: Mapping) -> dict[str, inspect.Parameter]:
    """Arguments of a config's class, and of the parents that it passes to.

    Nothing where the type is none, or no class.
    """
    kind = config.get('type')
    module = find(kind) if isinstance(kind, str) else kind
    if not inspect.isclass(module):
        return {}
    found: dict[str, inspect.Parameter] = {}
    for parent in module.__mro__:
        if '__init__' not in vars(parent) or parent is object:
            continue
        arguments = inspect.signature(vars(parent)['__init__']).parameters
        for name, argument in arguments.items():
            plain = argument.kind in (
                argument.POSITIONAL_OR_KEYWORD,
                argument.KEYWORD_ONLY,
            )
            if plain and name != 'self':
                found.setdefault(name, argument)
        if not any(x.kind is x.VAR_KEYWORD for x in arguments.values()):
            break
    return found


def find(name: str) -> Any:
    """The class of a name in any of mmdet's registries, None if in none."""
    # They look below in the scopes of mmcv and mmengine, too.
    found = (registry.get(name) for registry in registries())
    return next((x for x in found if x is not None), None)


def registries() -> list[Any]:
    """Those of mmdet."""
    from mmdet import registry
    from mmengine.registry import Registry

    return [x for x in vars(registry).values() if isinstance(x, Registry)]


def names_of(registries: Sequence[Any]) -> list[str]:
    """Every name in registries and in those above."""
    names: dict[str, None] = {}
    for registry in registries:
        level = registry
        while level is not None:
            names |= dict.fromkeys(level.module_dict)
            level = level.parent
    return list(names)


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


def check_run(cfg: Any, metric: str, prune: bool = False) -> None:
    """Refuse a config whose trials would all fail, or have nothing to compare.

    Args:
        cfg: Of a trial.
        metric: Name in the log of what is compared.
        prune: Whether it is compared before the end.

    Raises:
        ValueError: No validation, no such metric, no data; or with pruning
            only one validation.
    """
    loop = cfg.get('train_cfg') or {}
    if not cfg.get('val_dataloader') or not cfg.get('val_evaluator'):
        raise ValueError(
            'the config has no val_dataloader or no val_evaluator, so there '
            'is nothing to compare trials by'
        )
    steps = total_steps(cfg)
    interval = loop.get('val_interval') or 1
    begin = loop.get('val_begin') or 1
    if steps and begin > steps:
        raise ValueError(
            f'train_cfg validates from {begin} on and ends at {steps}: set '
            'val_begin to less'
        )
    first = math.ceil(begin / interval) * interval
    if prune and first >= steps and 'dynamic_intervals' not in loop:
        raise ValueError(
            f'train_cfg.val_interval is {interval} of {steps}: --prune '
            'compares trials at validations before the last, so set it to a '
            'fraction of that'
        )
    check_metric(cfg.val_evaluator, metric)
    for split in ('train', 'val'):
        loader = cfg.get(f'{split}_dataloader') or {}
        for dataset in datasets_in(loader.get('dataset')):
            if not dataset.get('ann_file'):
                continue
            path = Path(annotation_path(dataset))
            if not path.is_file():
                raise ValueError(
                    f'{split}_dataloader reads {path}, which is not there: '
                    'start from the folder that the paths are relative to, '
                    'or set data_root'
                )


COCO_ITEMS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


def check_metric(evaluator: Any, metric: str) -> None:
    """Refuse a name that mmdet's COCO metric will not log; others may.

    Raises:
        ValueError: It will not be there.
    """
    if not isinstance(evaluator, Mapping):
        return
    name = str(evaluator.get('type'))
    if name.rpartition('.')[2] not in ('CocoMetric', 'FasterCocoMetric'):
        return
    if evaluator.get('metric_items') or evaluator.get('classwise'):
        return
    kinds = evaluator.get('metric', 'bbox')
    kinds = [kinds] if isinstance(kinds, str) else kinds
    prefix = evaluator.get('prefix') or 'coco'
    names = [
        f'{prefix}/{kind}_{item}' for kind in kinds for item in COCO_ITEMS
    ]
    if metric not in names and not set(kinds) & {'proposal', 'proposal_fast'}:
        near = get_close_matches(metric, names, n=1, cutoff=0)[0]
        raise ValueError(
            f'the evaluator logs no {metric}; did you mean {near}? Set '
            '`metric` of the sweep'
        )

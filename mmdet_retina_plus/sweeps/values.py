"""Values of a sweep, checked against the config before anything starts."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from .points import full_label
from .spec import Point, Sweep


def check_sweep(sweep: Sweep, cfg: Any) -> list[Point]:
    """The points with values of the config's types.

    The model of every point is built once, so that a value that its class
    refuses is found here and not hours later.

    Args:
        sweep: What is to be trained.
        cfg: The mmengine config, as loaded.

    Raises:
        ValueError: A key that neither the config nor a class knows, a value
            of another type than the config's, or a model that cannot be built.
    """
    checked = []
    for point in sweep.points:
        fitting, changed = apply_point(sweep, point, cfg)
        if changed.model != cfg.model:
            check_model(changed, full_label(point))
        checked.append(fitting)
    return checked


def apply_point(sweep: Sweep, point: Point, cfg: Any) -> tuple[Point, Any]:
    """The point with values of the config's types, and the changed config.

    Raises:
        ValueError: A key that nothing knows, or a value of another type.
    """
    changed = cfg.copy()
    fitting = dict(point)
    # What a class accepts is known when its type is.
    for key in sorted(point, key=lambda name: not name.endswith('type')):
        whole = sweep.prefix + key
        try:
            fitting[key] = fit(changed.to_dict(), whole, point[key])
            changed.merge_from_dict({whole: fitting[key]})
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ValueError(f'Point {full_label(point)}: {error}') from error
    return fitting, changed


def check_model(cfg: Any, name: str) -> None:
    """Build the model of a point.

    Raises:
        ValueError: It cannot be built.
    """
    from mmdet.registry import MODELS

    try:
        MODELS.build(cfg.model)
    except Exception as error:  # Whatever a constructor may raise.
        raise ValueError(
            f'Point {name}: the model cannot be built, '
            f'{type(error).__name__}: {error}'
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
        return convert(parent[name], value, key)
    if not parent and name == 'type':
        return value
    accepted = parameters(parent)
    if name not in accepted:
        raise unknown(key, cfg, ['.'.join([*path, x]) for x in accepted])
    default = accepted[name]
    return value if default is None else convert(default, value, key)


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


def unknown(key: str, cfg: Any, more: Sequence[str] = ()) -> ValueError:
    """An error that names the nearest key."""
    known = [*keys_of(cfg), *more]
    # A slip is most often in the last part, so look at its neighbours first.
    parent = key.rpartition('.')[0]
    beside = [x for x in known if x.rpartition('.')[0] == parent]
    near = get_close_matches(key, beside, n=1) or get_close_matches(
        key, known, n=1, cutoff=0
    )
    return ValueError(f'the config has no {key}; did you mean {near[0]}?')


def keys_of(config: Any, prefix: str = '') -> Iterator[str]:
    """All dotted keys of a config."""
    items: Any = ()
    if isinstance(config, Mapping):
        items = config.items()
    elif isinstance(config, list | tuple):
        items = enumerate(config)
    for name, value in items:
        yield f'{prefix}{name}'
        yield from keys_of(value, f'{prefix}{name}.')


def parameters(config: Mapping) -> dict[str, Any]:
    """Arguments that the class of a config takes beside those that it sets.

    Returns:
        Name to default; None where there is no default.
    """
    kind = config.get('type')
    module = find(kind) if isinstance(kind, str) else kind
    if not inspect.isclass(module):
        return {}
    found: dict[str, Any] = {}
    for parent in module.__mro__:
        if '__init__' not in vars(parent) or parent is object:
            continue
        arguments = inspect.signature(vars(parent)['__init__']).parameters
        for name, argument in arguments.items():
            plain = argument.kind in (
                argument.POSITIONAL_OR_KEYWORD,
                argument.KEYWORD_ONLY,
            )
            if plain and name != 'self' and name not in found:
                default = argument.default
                found[name] = None if default is argument.empty else default
        if not any(x.kind is x.VAR_KEYWORD for x in arguments.values()):
            break
    return found


def find(name: str) -> Any:
    """The class of a name in any of mmdet's registries, None if in none."""
    from mmdet import registry
    from mmengine.registry import Registry

    for member in vars(registry).values():
        if isinstance(member, Registry):
            # Looks below in the scopes of mmcv and mmengine, too.
            found = member.get(name)
            if found is not None:
                return found
    return None


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
    if is_number(current) and is_number(value):
        if isinstance(current, float):
            return float(value)
        return int(value) if value == int(value) else value
    # A number for all is often as good as one for each, and the reverse.
    if many_or_number(current) and many_or_number(value):
        return value
    if isinstance(value, type(current)):
        return value
    raise ValueError(
        f'{key} is {value!r}, but the config has {current!r}: give a value '
        f'of type {type(current).__name__}'
    )


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def many_or_number(value: Any) -> bool:
    return isinstance(value, list | tuple) or is_number(value)


def check_run(cfg: Any, prune: bool) -> None:
    """Refuse a config whose trials would all fail, or have nothing to compare.

    Raises:
        ValueError: No validation, no data; or with pruning only one
            validation.
    """
    from mmdet_retina_plus.tools.read_data import annotation_path, datasets_in

    loop = cfg.get('train_cfg') or {}
    if not cfg.get('val_dataloader') or not cfg.get('val_evaluator'):
        raise ValueError(
            'The config has no val_dataloader or no val_evaluator, so there '
            'is nothing to compare trials by'
        )
    steps = loop.get('max_iters') or loop.get('max_epochs') or 0
    if prune and loop.get('val_interval', 1) >= steps:
        raise ValueError(
            f'train_cfg.val_interval is {loop.get("val_interval", 1)} of '
            f'{steps}: --prune compares trials at validations before the '
            'last, so set it to a fraction of that'
        )
    for split in ('train', 'val'):
        for dataset in datasets_in(cfg[f'{split}_dataloader'].get('dataset')):
            path = Path(annotation_path(dataset))
            if dataset.get('ann_file') and not path.is_file():
                raise ValueError(
                    f'{split}_dataloader reads {path}, which is not there: '
                    'start from the folder that the paths are relative to, '
                    'or set data_root'
                )

"""Search the tree of mappings and lists in a config."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

LAST_SEED = 2**31 - 1
"""NumPy's limit is 2**32 - 1, and loaders add the ids of their workers."""


def kind(config: Any) -> str:
    """Class name of a config's `type`, without its scope; '' if none."""
    name = config.get('type', '') if isinstance(config, Mapping) else ''
    name = name if isinstance(name, str) else getattr(name, '__name__', '')
    return name.rpartition('.')[2]


def part(config: Any, path: str) -> Mapping:
    """Mapping at a dotted key, empty if a key is missing."""
    for key in path.split('.'):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config if isinstance(config, Mapping) else {}


def seed_of(config: Any) -> int | None:
    """Seed of a training run, None if the config sets none."""
    # mmengine's Config is not a Mapping, which `part` requires.
    return (config.get('randomness') or {}).get('seed')


def walk(config: Any) -> Iterator[Mapping]:
    """Yield all mappings in a config, outermost first."""
    if isinstance(config, Mapping):
        yield config
        config = list(config.values())
    if isinstance(config, list | tuple):
        for item in config:
            yield from walk(item)


def dotted_items(config: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values of a config, also of inner mappings."""
    items: Any = ()
    if isinstance(config, Mapping):
        items = config.items()
    elif isinstance(config, list | tuple):
        items = enumerate(config)
    for name, value in items:
        yield f'{prefix}{name}', value
        yield from dotted_items(value, f'{prefix}{name}.')


def without_scopes(value: Any) -> Any:
    """Remove mmengine's `_scope_` keys from a config."""
    if isinstance(value, Mapping):
        return {
            key: without_scopes(item)
            for key, item in value.items()
            if key != '_scope_'
        }
    if isinstance(value, list | tuple):
        return type(value)(map(without_scopes, value))
    return value


def dataset_chains(
    config: Any, wrappers: tuple[Mapping, ...] = ()
) -> Iterator[tuple[Mapping, ...]]:
    """Yield each data set's wrappers, outermost first, and the data set."""
    inner: list = []
    if isinstance(config, list | tuple):
        inner = list(config)
    elif isinstance(config, Mapping):
        wrappers = (*wrappers, config)
        inner = [
            config[key] for key in ('dataset', 'datasets') if key in config
        ]
        if not inner:
            yield wrappers
    for item in inner:
        yield from dataset_chains(item, wrappers)


def datasets_in(config: Any) -> Iterator[Mapping]:
    """Yield the configs of data sets, without wrappers."""
    for *_, innermost in dataset_chains(config):
        yield innermost


def annotation_path(config: Mapping) -> str:
    """Annotation file of a data set's config.

    Raises:
        ValueError: The config names no file.
    """
    ann_file = config.get('ann_file')
    if not isinstance(ann_file, str) or not ann_file:
        raise ValueError(f'ann_file is {ann_file!r}, not a file name')
    return os.path.join(config.get('data_root') or '', ann_file)

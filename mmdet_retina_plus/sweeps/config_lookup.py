"""Look up keys in a config, its classes' arguments and mmengine."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from mmdet_retina_plus.common.config_file import parts_read

FREE = (
    'default_hooks',
    'env_cfg',
    'env_cfg.dist_cfg',
    'optim_wrapper.clip_grad',
    'optim_wrapper.constructor',
    'optim_wrapper.paramwise_cfg',
    'optim_wrapper.paramwise_cfg.custom_keys',
    'randomness',
)
"""Parts in which mmengine reads more names than its classes take."""


def is_free(missing: str) -> bool:
    """Whether mmengine may read a key that neither config nor class has.

    Args:
        missing: First missing part: a hook may have any name, but not any
            argument.
    """
    above = missing.rpartition('.')[0]
    return missing in {*FREE, *parts_read()} or above in FREE


def parameters(config: Mapping) -> dict[str, inspect.Parameter]:
    """Arguments of a config's class and of the parents it passes them to.

    Empty where there is no type, or the type is not a class.
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
    """The class of a name in mmdet's registries, None if there is none."""
    # mmdet's registries search those of mmengine, too.
    found = (registry.get(name) for registry in registries())
    return next((x for x in found if x is not None), None)


def registries() -> list[Any]:
    """All registries of mmdet."""
    from mmdet import registry
    from mmengine.registry import Registry

    return [x for x in vars(registry).values() if isinstance(x, Registry)]


def names_of(registries: Sequence[Any]) -> list[str]:
    """Every name in registries and in their parents."""
    levels = [level for home in registries for level in (home, home.parent)]
    return [name for level in levels if level for name in level.module_dict]

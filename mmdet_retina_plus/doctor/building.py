"""Calling a builder of mmengine, and what it answers in words."""

from collections.abc import Callable, Mapping
from typing import Any

from .data_sets import silence
from .explanations import explained
from .findings import Finding


def attempt(key: str, build: Callable[[], Any]) -> tuple[Any, list[Finding]]:
    """What a builder returns, or why it fails."""
    try:
        with silence():
            return build(), []
    except Exception as error:  # Whatever a constructor raises.
        return None, [explained(key, error)]


def known_type(registry: Any, name: str, config: Mapping) -> Any:
    """The class of a config.

    Raises:
        KeyError: In the words of mmengine's builders.
    """
    found = config['type']
    if isinstance(found, str):
        found = registry.get(found)
    if found is None:
        raise KeyError(f'{config["type"]} is not in the {name} registry')
    return found

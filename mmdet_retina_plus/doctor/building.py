"""Call mmengine's builders and explain their errors."""

from collections.abc import Callable, Mapping
from typing import Any

from .data_sets import silence
from .explanations import explained
from .findings import Finding


def attempt(key: str, build: Callable[[], Any]) -> tuple[Any, list[Finding]]:
    """Return what a builder returns, or a finding if it fails."""
    try:
        with silence():
            return build(), []
    except Exception as error:  # A constructor may raise anything.
        return None, [explained(key, error)]


def known_type(registry: Any, name: str, config: Mapping) -> Any:
    """Return the class that a config names.

    Raises:
        KeyError: The name is unknown; worded as mmengine's builders word it.
    """
    found = config['type']
    if isinstance(found, str):
        found = registry.get(found)
    if found is None:
        raise KeyError(f'{config["type"]} is not in the {name} registry')
    return found

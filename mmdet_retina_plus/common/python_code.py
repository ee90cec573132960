"""Values as Python code of a config, in lines that fit a page."""

from collections.abc import Mapping
from typing import Any

WIDTH = 79


class Expression(str):
    """Code that is written as it is, without quotes."""

    def __repr__(self) -> str:
        return str(self)


def elements(value: Any) -> list[tuple[str, Any]]:
    """Prefix and value of what a container holds."""
    if isinstance(value, Mapping):
        # `**common` has no value of its own.
        return [
            (key, Expression()) if key.startswith('**') else (f'{key}=', item)
            for key, item in value.items()
        ]
    return [('', item) for item in value]


def brackets(value: Any) -> tuple[str, str] | None:
    """What stands around the elements of a container, None for others."""
    if isinstance(value, Mapping):
        return 'dict(', ')'
    if isinstance(value, tuple):
        return '(', ')'
    return ('[', ']') if isinstance(value, list) else None


def one_line(value: Any) -> str:
    """Code of a value, its mappings as `dict(…)`."""
    around = brackets(value)
    if around is None:
        return repr(value)
    inner = [f'{key}{one_line(item)}' for key, item in elements(value)]
    comma = ',' if isinstance(value, tuple) and len(inner) == 1 else ''
    return f'{around[0]}{", ".join(inner)}{comma}{around[1]}'


def as_code(value: Any, indent: int = 0, taken: int = 0) -> str:
    """Code of a value in lines of at most `WIDTH`, where it has elements.

    Args:
        value: Numbers, texts, and containers of them; mappings have names as
            keys, and `**name` stands for itself.
        indent: Indentation of the line on which it begins.
        taken: Length of what else is on that line.
    """
    flat = one_line(value)
    around = brackets(value)
    if around is None or indent + taken + len(flat) <= WIDTH:
        return flat
    inner = indent + 4
    lines = [
        f'{" " * inner}{key}{as_code(item, inner, len(key) + 1)},\n'
        for key, item in elements(value)
    ]
    return f'{around[0]}\n{"".join(lines)}{" " * indent}{around[1]}'

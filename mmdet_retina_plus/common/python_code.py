"""Format values as Python code of a config, in lines of limited width."""

from collections.abc import Mapping
from typing import Any

WIDTH = 79


class Expression(str):
    """Code that is written as it is, without quotes."""

    def __repr__(self) -> str:
        return str(self)


def elements(value: Any) -> list[tuple[str, Any]]:
    """Prefixes and values of a container's elements."""
    if isinstance(value, Mapping):
        # `**common` has no value of its own.
        return [
            (key, Expression()) if key.startswith('**') else (f'{key}=', item)
            for key, item in value.items()
        ]
    return [('', item) for item in value]


def brackets(value: Any) -> tuple[str, str] | None:
    """Opening and closing bracket of a container, None for other values."""
    if isinstance(value, Mapping):
        return 'dict(', ')'
    if isinstance(value, tuple):
        return '(', ')'
    return ('[', ']') if isinstance(value, list) else None


def one_line(value: Any) -> str:
    """Code of a value in one line, mappings as `dict(…)`."""
    around = brackets(value)
    if around is None:
        return repr(value)
    inner = [f'{key}{one_line(item)}' for key, item in elements(value)]
    comma = ',' if isinstance(value, tuple) and len(inner) == 1 else ''
    return f'{around[0]}{", ".join(inner)}{comma}{around[1]}'


def as_code(value: Any, indent: int = 0, taken: int = 0) -> str:
    """Code of a value, with containers broken at `WIDTH`.

    Args:
        value: Numbers, strings, and containers of them. Keys of mappings are
            names, or `**name`, which is written as it is.
        indent: Indentation of the line on which the value starts.
        taken: Length of the rest of that line.
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

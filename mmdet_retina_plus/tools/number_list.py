"""An option of several numbers."""

from typing import Any

import click


class NumberList(click.ParamType):
    """Numbers with commas between them: 0,.5,2.

    Args:
        count: How many there have to be. None: any number of them.
    """

    name = 'numbers'

    def __init__(self, count: int | None = None) -> None:
        self.count = count

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):  # A default.
            return value
        try:
            numbers = tuple(map(float, value.split(',')))
        except ValueError:
            self.fail(f'{value!r} are not numbers like 0,.5,2', param, ctx)
        if self.count not in (None, len(numbers)):
            self.fail(f'{value!r} are not {self.count} numbers', param, ctx)
        return numbers


def ascending(lists: tuple[tuple[float, ...], ...]) -> list[float]:
    """All numbers of an option that may be repeated, each once."""
    return sorted({number for numbers in lists for number in numbers})

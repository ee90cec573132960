"""Options of several numbers."""

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


gammas_option = click.option(
    '--gamma',
    'gammas',
    multiple=True,
    type=NumberList(),
    default=((0.0, 0.5, 1.0, 2.0, 5.0),),
    help='Of focal losses; 0 is cross entropy.  [default: 0,.5,1,2,5]',
)


def show_number(number: float) -> str:
    """Six digits, or as many as it has: 2, 0.5, 2.0000001."""
    text = f'{number:g}'
    return text if float(text) == number else repr(number)


def ascending(lists: tuple[tuple[float, ...], ...]) -> list[float]:
    """All numbers of an option that may be repeated, each once."""
    return sorted({number for numbers in lists for number in numbers})

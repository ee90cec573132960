"""Options and option types shared by several sub-commands."""

from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

import click

from mmdet_retina_plus.common.annotation_files import instead_of
from mmdet_retina_plus.common.config_file import parse_options

from .errors import errors_as_messages


def is_pair(word: str) -> bool:
    return '=' in word


class ManyValues(click.Command):
    """Accept `--option A B C` for `--option A --option B --option C`.

    Attributes:
        takes: Whether a word after the first value belongs to the option too.
    """

    takes: dict[str, Callable[[str], bool]] = {'--cfg-options': is_pair}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words: list[str] = []
        option = ''
        for word in args:
            if word.startswith('-'):
                name = word.partition('=')[0]
                option = name if name in self.takes else ''
            elif option and words[-1] != option:
                if self.takes[option](word):
                    words.append(option)
                else:
                    option = ''
            words.append(word)
        return super().parse_args(ctx, words)


def checked_pairs(
    ctx: click.Context, param: click.Parameter, pairs: tuple[str, ...]
) -> tuple[str, ...]:
    """Refuse what is not KEY=VALUE, before anything heavy is imported."""
    with errors_as_messages():
        parse_options(pairs)
    return pairs


cfg_options_option = click.option(
    '--cfg-options',
    multiple=True,
    metavar='KEY=VALUE ...',
    callback=checked_pairs,
    help='Changes to the config. A VALUE is a Python literal or text.',
)
"""For a command of the class `ManyValues`."""


device_option = click.option(
    '--device', help='[default: cuda:0 if there is one, else cpu]'
)


def out_option(help: str, **settings) -> Callable[[Any], Any]:
    """Option --out, a file to write, with further `settings` for click."""
    path = click.Path(dir_okay=False, path_type=Path)
    return click.option('--out', type=path, help=help, **settings)


def iou_thr_option(help: str) -> Callable[[Any], Any]:
    return click.option('--iou-thr', type=FiniteRange(0, 1), help=help)


class InputFile(click.Path):
    """A file to read; the error for a missing file says what exists."""

    def __init__(self, path_type: type | None = None) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=path_type)

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        if not Path(value).exists():
            raise click.ClickException(
                f'there is no file {value}; {instead_of(Path(value))}'
            )
        return super().convert(value, param, ctx)


class NumberList(click.ParamType):
    """Numbers separated by commas: 0,.5,2.

    Args:
        count: Required number of values; None for any.
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
            self.fail(f'{value!r} is not a list like 0,.5,2', param, ctx)
        if self.count not in (None, len(numbers)):
            self.fail(f'{value!r} is not {self.count} numbers', param, ctx)
        return numbers


gammas_option = click.option(
    '--gamma',
    'gammas',
    multiple=True,
    type=NumberList(),
    default=((0.0, 0.5, 1.0, 2.0, 5.0),),
    help='Gammas of the loss; 0 is cross entropy.  [default: 0,.5,1,2,5]',
)


def ascending(lists: tuple[tuple[float, ...], ...]) -> list[float]:
    """Join the numbers of a repeated option, without duplicates."""
    return sorted({number for numbers in lists for number in numbers})


class FiniteRange(click.FloatRange):
    """A range that also refuses NaN, which no limit excludes."""

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        number = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f'{value} is not a finite number.', param, ctx)
        return number

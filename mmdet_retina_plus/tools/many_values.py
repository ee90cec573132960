"""Options that take several values, as mim's `--cfg-options` does."""

from collections.abc import Callable

import click


def is_pair(word: str) -> bool:
    return '=' in word


class ManyValues(click.Command):
    """Takes `--option A B C` for `--option A --option B --option C`.

    Attributes:
        takes: Which words belong to an option that stands before them, beside
            the one directly behind it.
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


cfg_options_option = click.option(
    '--cfg-options',
    multiple=True,
    metavar='KEY=VALUE ...',
    help='Change the config first, as mim does.',
)
"""For a command of the class `ManyValues`."""

"""What a check found, and how findings are shown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

MEND = 'mend what the message names, then run this again'
COLOURS = {'ok': 'green', 'warning': 'yellow', 'error': 'bold red'}


@dataclass(frozen=True)
class Finding:
    """One answer of the doctor.

    Attributes:
        level: With an 'error' training cannot work, or learns nothing; a
            'warning' may be meant.
        subject: What was looked at, in a word or two.
        message: What was seen.
        way_out: What to do about it; only an 'ok' needs none.
    """

    level: Literal['ok', 'warning', 'error']
    subject: str
    message: str
    way_out: str = ''

    def __post_init__(self) -> None:
        assert self.way_out or self.level == 'ok', f'{self} has no way out'


def failure(subject: str, error: Exception, way_out: str = MEND) -> Finding:
    message = f'{type(error).__name__}: {error}'
    return Finding('error', subject, message, way_out)


def guarded(check: Callable[..., list[Finding]], *given: Any) -> list[Finding]:
    """Findings of a check, or one about the exception that it raises."""
    try:
        return check(*given)
    except Exception as error:  # What is looked at may be of any kind.
        subject = check.__name__.removeprefix('check_')
        way_out = (
            f'{check.__name__} met a value that it does not understand: '
            'correct what the message names; if it is right, report it'
        )
        return [failure(subject, error, way_out)]


def any_error(findings: Sequence[Finding]) -> bool:
    return any(finding.level == 'error' for finding in findings)


def show(findings: Sequence[Finding]) -> None:
    """Print a table, and below it the ways out, unwrapped for copying."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(box=None, show_header=False, pad_edge=False)
    for column in ('level', 'subject', 'message'):
        table.add_column(column, overflow='fold')
    for finding in findings:
        table.add_row(
            Text(finding.level, COLOURS[finding.level]),
            Text(finding.subject),
            Text(finding.message),
        )
    console.print(table)
    ways = [finding for finding in findings if finding.way_out]
    if ways:
        console.print('\nWays out:')
    for finding in ways:
        text = Text.assemble((finding.subject, 'bold'), ': ', finding.way_out)
        console.print(text, soft_wrap=True)

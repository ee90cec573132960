"""What a check found, and how findings are shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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

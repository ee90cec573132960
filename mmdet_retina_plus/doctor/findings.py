"""What a check found, and how findings are joined and shown."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

FIX = 'correct what the message names, then run this again'
COLOURS = {'error': 'bold red', 'warning': 'yellow', 'ok': 'green'}
"""By level, the worst first."""


Level = Literal['ok', 'warning', 'error']


@dataclass(frozen=True)
class Finding:
    """One answer of the doctor.

    Attributes:
        level: With an 'error' training cannot work, or learns nothing; a
            'warning' may be meant.
        subject: What was looked at, in a word or two.
        message: What was seen.
        fix: What to do about it; only an 'ok' needs none.
        cause: What is at fault: '' for the subject, 'annotations', of which
            trials drop what they find where other findings tell of them; and
            'spelling' of categories, 'classes', 'lists' of categories that
            differ, which explain each other.
    """

    level: Level
    subject: str
    message: str
    fix: str = ''
    cause: str = ''

    def __post_init__(self) -> None:
        assert self.fix or self.level == 'ok', f'{self} has no fix'


def failure(subject: str, error: Exception, fix: str = FIX) -> Finding:
    message = f'{type(error).__name__}: {error}'
    return Finding('error', subject, message, fix)


def guarded(check: Callable[..., list[Finding]], *given: Any) -> list[Finding]:
    """Findings of a check, or one about the exception that it raises."""
    try:
        return check(*given)
    except Exception as error:  # What is looked at may be of any kind.
        subject = check.__name__.removeprefix('check_')
        fix = (
            f'{check.__name__} met a value that it does not understand: '
            'correct what the message names; if it is right, report it'
        )
        return [failure(subject, error, fix)]


def is_error(finding: Finding) -> bool:
    return finding.level == 'error'


def any_error(findings: Sequence[Finding]) -> bool:
    return any(map(is_error, findings))


def explains(cause: Finding, message: str) -> bool:
    """Whether an error names a setting that the fix of another changes."""
    changed = re.findall(r'(\w+)=', cause.fix)
    return cause.level == 'error' and any(key in message for key in changed)


def without_consequences(
    findings: Sequence[Finding], causes: Sequence[Finding]
) -> list[Finding]:
    """Findings, less the failed trials where errors of settings explain them.

    Args:
        findings: Of trials: a step, a prediction.
        causes: Of what they try.
    """
    if any_error(causes):
        return [x for x in findings if x.level != 'error']
    return list(findings)


def joined(findings: Iterable[Finding]) -> list[Finding]:
    """Findings of one message as one, the worst level first."""
    subjects: dict[Finding, list[str]] = {}
    for finding in findings:
        same = subjects.setdefault(replace(finding, subject=''), [])
        if finding.subject not in same:
            same.append(finding.subject)
    levels = list(COLOURS)
    return sorted(
        (
            replace(x, subject=', '.join(names))
            for x, names in subjects.items()
        ),
        key=lambda finding: levels.index(finding.level),
    )


def as_json(findings: Sequence[Finding], **about: Any) -> str:
    """Findings and what they are about, as one JSON object."""
    listed = [asdict(finding) for finding in findings]
    for one in listed:
        del one['cause']
    return json.dumps(dict(about, findings=listed), indent=1)


def show(findings: Sequence[Finding]) -> None:
    """Print a table, and below it the fixes, unwrapped for copying."""
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
    problems = [finding for finding in findings if finding.level != 'ok']
    if problems:
        console.print('\nFixes:')
    for finding in problems:
        text = Text.assemble((finding.subject, 'bold'), ': ', finding.fix)
        console.print(text, soft_wrap=True)

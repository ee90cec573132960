"""Findings of checks: how they are merged and shown."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

FIX = 'correct what the message names, then run this again'
COLOURS = {'error': 'bold red', 'warning': 'yellow', 'ok': 'green'}
"""Colours by level, worst first."""


Level = Literal['ok', 'warning', 'error']


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        level: 'error': training cannot work or learns nothing or the wrong
            thing; 'warning': may be intended; 'ok'.
        subject: What was checked, in a word or two.
        message: What was found.
        fix: How to fix it; only an 'ok' needs none.
        cause: '' if the subject itself is the cause. 'annotations': dropped
            where other findings already report the annotations. 'images':
            objects belong to other images, so their boxes and masks are not
            checked. 'spelling', 'classes', 'lists': category problems that
            explain each other.
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
    """Run a check; turn an exception that it raises into a finding."""
    try:
        return check(*given)
    except Exception as error:  # A config may have any value.
        subject = check.__name__.removeprefix('check_')
        fix = (
            f'{check.__name__} cannot handle this value: correct what the '
            'message names; if it is right, report a bug'
        )
        return [failure(subject, error, fix)]


def is_error(finding: Finding) -> bool:
    return finding.level == 'error'


def any_error(findings: Sequence[Finding]) -> bool:
    return any(map(is_error, findings))


def explains(cause: Finding, message: str) -> bool:
    """Whether a message names a setting that the fix of an error changes."""
    changed = re.findall(r'(\w+)=', cause.fix)
    return cause.level == 'error' and any(key in message for key in changed)


def without_consequences(
    findings: Sequence[Finding], causes: Sequence[Finding]
) -> list[Finding]:
    """Drop failed trials that other errors explain.

    Args:
        findings: Findings of trials: a loss step, a prediction.
        causes: Findings about the settings under trial.
    """
    if any_error(causes):
        return [x for x in findings if x.level != 'error']
    return list(findings)


def joined(findings: Iterable[Finding]) -> list[Finding]:
    """Merge findings with equal messages, and sort them worst first."""
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
    """Return findings and information about the run as one JSON object."""
    listed = [asdict(finding) for finding in findings]
    for one in listed:
        del one['cause']
    return json.dumps(dict(about, findings=listed), indent=1)


def show(findings: Sequence[Finding]) -> None:
    """Print a table, followed by the fixes, unwrapped for copying."""
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
    if any(re.search(r'\w\.\w+=(?!=)', finding.fix) for finding in problems):
        console.print(
            '\nA key with dots, a.b=1, is for --cfg-options; in the config it '
            'is b=1 inside a=dict(…).',
            soft_wrap=True,
        )

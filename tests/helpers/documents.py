"""Pages of the documentation and the blocks of code in them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md')),
    ROOT / 'configs' / 'README.md',
    *sorted((ROOT / 'docs').rglob('*.md')),
]
"""What people read, and so what tests read."""


class Block(NamedTuple):
    """A fenced block of code.

    Attributes:
        page: Path of the page, relative to the checkout.
        line: Line of the page where its code begins, from 1.
        language: Word after the opening fence, or the empty string.
        code: Text between the fences.
    """

    page: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f'{self.page}:{self.line}'


def blocks(*languages: str) -> list[Block]:
    """Blocks of code in some languages, of all pages."""
    return [
        block
        for page in PAGES
        for block in blocks_of(page)
        if block.language in languages
    ]


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding='utf-8')
    name = page.relative_to(ROOT).as_posix()
    for match in re.finditer(r'^```(\w*)\n(.*?)^```$', text, re.M | re.S):
        line = text.count('\n', 0, match.start(2)) + 1
        yield Block(name, line, *match.groups())


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    text = page.read_text(encoding='utf-8')
    return re.sub(r'^```.*?^```$', '', text, flags=re.M | re.S)

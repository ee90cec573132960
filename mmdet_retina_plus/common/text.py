"""Lists and quantities in the words of a message."""

from collections.abc import Sequence


def some(names: Sequence, most: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(map(str, names[:most])) + more


def error_text(error: BaseException) -> str:
    """Message of an expected error; of others their type, too."""
    expected = isinstance(error, ValueError | OSError)
    return f'{error}' if expected else f'{error!r}'


def quantity(number: int, noun: str) -> str:
    """A number and its noun: 1 image, 2,000 images."""
    return f'{number:,} {noun}' if number == 1 else f'{number:,} {noun}s'

"""Lists and quantities in messages."""

from collections.abc import Sequence

TAKE_WEAKER = (
    'train longer, or keep weaker boxes by --cfg-options '
    'model.test_cfg.score_thr=0.001'
)
"""Hint for a detector that finds nothing."""


def some(names: Sequence, most: int = 3) -> str:
    """List the first few names and count the rest."""
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(map(str, names[:most])) + more


def error_text(error: BaseException) -> str:
    """Message of an error, with its type if it is unexpected."""
    expected = isinstance(error, ValueError | OSError)
    return f'{error}' if expected else f'{error!r}'


def quantity(number: int, noun: str) -> str:
    """Number and noun: 1 image, 2,000 images, 3 boxes."""
    plural = 'es' if noun.endswith(('s', 'x')) else 's'
    return f'{number:,} {noun}{"" if number == 1 else plural}'


def verb(number: int, plural: str) -> str:
    """Verb that agrees with a number: 1 has, 2 have; 1 leaves, 2 leave."""
    singular = {'have': 'has', 'are': 'is'}.get(plural, f'{plural}s')
    return singular if number == 1 else plural


def clause(number: int, noun: str, plural: str) -> str:
    """Number, noun and verb: 1 image has, 2 images have."""
    return f'{quantity(number, noun)} {verb(number, plural)}'

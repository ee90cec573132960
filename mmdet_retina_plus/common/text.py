"""Lists and quantities in the words of a message."""

from collections.abc import Sequence

TAKE_WEAKER = (
    'train longer, or keep weaker boxes by --cfg-options '
    'model.test_cfg.score_thr=0.001'
)
"""What to do where a detector finds nothing."""


def some(names: Sequence, most: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(map(str, names[:most])) + more


def error_text(error: BaseException) -> str:
    """Message of an expected error; of others their type, too."""
    expected = isinstance(error, ValueError | OSError)
    return f'{error}' if expected else f'{error!r}'


def quantity(number: int, noun: str) -> str:
    """A number and its noun: 1 image, 2,000 images, 3 boxes."""
    plural = 'es' if noun.endswith(('s', 'x')) else 's'
    return f'{number:,} {noun}{"" if number == 1 else plural}'


def verb(number: int, plural: str) -> str:
    """A verb that agrees with a number: 1 has, 2 have; 1 leaves, 2 leave."""
    singular = {'have': 'has', 'are': 'is'}.get(plural, f'{plural}s')
    return singular if number == 1 else plural


def clause(number: int, noun: str, plural: str) -> str:
    """Number, noun and verb: 1 image has, 2 images have."""
    return f'{quantity(number, noun)} {verb(number, plural)}'

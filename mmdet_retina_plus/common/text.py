"""Lists, quantities and errors in messages."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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
    """Message of an error in one line, with its type if it is unexpected."""
    text = f'{error}'.strip()
    if 'Original Traceback' in text:
        # From a worker process: the last line is the error.
        return text.splitlines()[-1]
    text = ' '.join(text.split())
    if text and isinstance(error, ValueError | OSError):
        return text
    return ': '.join(filter(None, [type(error).__name__, text]))


@contextmanager
def building(part: str) -> Iterator[None]:
    """Name the part that a block builds in errors from its constructors.

    Raises:
        ValueError: The block raised an error.
    """
    try:
        yield
    except Exception as error:  # Constructors may raise anything.
        raise ValueError(
            f'Cannot build the {part}: {error_text(error)}'
        ) from error


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

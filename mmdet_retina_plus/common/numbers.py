"""Numbers: what counts as one, and how it is shown."""

from sys import float_info
from typing import TypeGuard


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is one, infinity and NaN included; booleans are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number that a float can hold."""
    # Written such that NaN fails, and an integer of 400 digits, too.
    return is_number(value) and abs(value) <= float_info.max


def show_number(number: float) -> str:
    """Six digits, or as many as it has: 2, 0.5, 2.0000001."""
    text = f'{number:g}'
    return text if float(text) == number else repr(number)

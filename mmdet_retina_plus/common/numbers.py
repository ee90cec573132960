"""Check and show numbers."""

from sys import float_info
from typing import TypeGuard


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number, also infinity or NaN; not a boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number that a float can hold."""
    # This form also rejects NaN and an integer of 400 digits.
    return is_number(value) and abs(value) <= float_info.max


def show_threshold(score: float) -> str:
    """Format with three digits, rounded down: the score itself passes."""
    text = f'{score:.3f}'
    return text if float(text) <= score else f'{score - 0.0005:.3f}'


def show_number(number: float) -> str:
    """Format with six digits, or more if it has more: 2, 0.5, 2.0000001."""
    text = f'{number:g}'
    return text if float(text) == number else repr(number)

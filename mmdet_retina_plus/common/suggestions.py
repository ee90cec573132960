"""Hints at the name that was meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def near_names(
    name: str, known: Iterable[str], most: int = 1, always: bool = False
) -> list[str]:
    """Names that are similar to one, nearest first.

    Small and capital letters count as equal.

    Args:
        name: As it was written.
        known: Names that exist.
        most: Number of names to give.
        always: Also give names that are not similar.
    """
    cutoff = 0.0 if always else 0.6
    folded = {word.casefold(): word for word in known}
    near = get_close_matches(
        name.casefold(), list(folded), n=most, cutoff=cutoff
    )
    return [folded[word] for word in near]


def near_name(name: str, known: Iterable[str], always: bool = False) -> str:
    """The first of `near_names`, '' if there is none."""
    return next(iter(near_names(name, known, always=always)), '')


def did_you_mean(
    name: str, known: Iterable[str], most: int = 1, always: bool = False
) -> str:
    """End of an error message: '; did you mean a, b?', of `near_names`.

    Returns:
        Empty where no name is similar, or none is known.
    """
    return hint(*near_names(name, known, most, always))


def hint(*names: str) -> str:
    """End of an error message about names that may be meant.

    Args:
        names: Empty ones are left out.
    """
    given = ', '.join(filter(None, names))
    return f'; did you mean {given}?' if given else ''

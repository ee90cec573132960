"""Suggest the name that was probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def near_names(
    name: str, known: Iterable[str], most: int = 1, always: bool = False
) -> list[str]:
    """Find similar names, best first, ignoring case.

    Args:
        name: Name as the user wrote it.
        known: Names that exist.
        most: Maximum number of names.
        always: Also return names that are not similar.
    """
    cutoff = 0.0 if always else 0.6
    folded = {word.casefold(): word for word in known}
    near = get_close_matches(
        name.casefold(), list(folded), n=most, cutoff=cutoff
    )
    return [folded[word] for word in near]


def near_name(name: str, known: Iterable[str], always: bool = False) -> str:
    """First of `near_names`, '' if there is none."""
    return next(iter(near_names(name, known, always=always)), '')


def did_you_mean(
    name: str, known: Iterable[str], most: int = 1, always: bool = False
) -> str:
    """End of an error message: '; did you mean a, b?', by `near_names`.

    Returns:
        The text; '' if no name is similar.
    """
    return hint(*near_names(name, known, most, always))


def hint(*names: str) -> str:
    """End of an error message that suggests names.

    Args:
        names: Names; empty ones are left out.
    """
    given = ', '.join(filter(None, names))
    return f'; did you mean {given}?' if given else ''

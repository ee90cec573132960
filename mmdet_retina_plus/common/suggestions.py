"""Hints at the name that was meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(
    name: str, known: Iterable[str], most: int = 1, always: bool = False
) -> str:
    """End of an error message: '; did you mean a, b?', nearest first.

    Small and capital letters count as equal.

    Args:
        name: As it was written.
        known: Names that exist.
        most: Number of names to give.
        always: Also give names that are not similar.

    Returns:
        Empty where no name is similar, or none is known.
    """
    cutoff = 0.0 if always else 0.6
    folded = {word.casefold(): word for word in known}
    near = [
        folded[word]
        for word in get_close_matches(
            name.casefold(), list(folded), n=most, cutoff=cutoff
        )
    ]
    return f'; did you mean {", ".join(near)}?' if near else ''

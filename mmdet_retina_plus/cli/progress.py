"""Progress bars of commands, on the standard error stream."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any


def progress_bar(title: str) -> Callable[[Iterable[Any]], Iterable[Any]]:
    """Return a function that yields items and shows the progress."""
    from rich.console import Console
    from rich.progress import track

    return partial(track, description=title, console=Console(stderr=True))

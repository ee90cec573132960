"""Record calls of a head's methods while its loss runs."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple


class Call(NamedTuple):
    """One call of a method: arguments by name, and its result."""

    arguments: dict[str, Any]
    result: Any


@contextmanager
def replaced(owner: Any, name: str, function: Callable) -> Iterator[None]:
    """Replace a method of one object in a `with` block."""
    own = vars(owner)
    before = own.get(name)
    # Not by setattr, which torch modules override.
    own[name] = function
    try:
        yield
    finally:
        if before is None:
            del own[name]
        else:
            own[name] = before


@contextmanager
def watched(owner: Any, name: str) -> Iterator[list[Call]]:
    """Record the calls of a method of one object in a `with` block."""
    method = getattr(owner, name)
    signature = inspect.signature(method)
    calls: list[Call] = []

    # Some heads inspect the signature of an assigner.
    @wraps(method)
    def watch(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        result = method(*args, **kwargs)
        calls.append(Call(bound.arguments, result))
        return result

    with replaced(owner, name, watch):
        yield calls

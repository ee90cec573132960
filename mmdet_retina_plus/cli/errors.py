"""Turn errors into messages of a command, which then exits with code 1."""

from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def errors_as_messages(doctor: bool = False) -> Iterator[None]:
    """Turn expected errors of a ``with`` block into click's.

    Args:
        doctor: Whether a failed import points to `retina-plus doctor`.

    Raises:
        click.ClickException: For ValueError, ImportError or OSError.
    """
    try:
        yield
    except (ValueError, ImportError, OSError) as error:
        hint = ''
        if (
            doctor
            and isinstance(error, ImportError)
            and 'retina-plus doctor' not in f'{error}'
        ):
            hint = '; `retina-plus doctor` names what to install'
        raise click.ClickException(f'{error}{hint}') from error

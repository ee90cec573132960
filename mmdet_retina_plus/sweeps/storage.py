"""Optuna's storages: opened, waited for, and a journal that survives kills."""

import logging
import os
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

logger = logging.getLogger(__name__)
Method = TypeVar('Method', bound=Callable[..., Any])
PAUSE = 2.0
"""Seconds between two attempts to reach a storage."""


class StorageError(ValueError):
    """Storage still unreachable after `grace` seconds, or at a stop."""


def open_storage(storage: str) -> Any:
    """Optuna's storage for the URL of a database or the path of a journal.

    Raises:
        ValueError: It cannot be reached.
        ImportError: Optuna, or a database's driver, is missing.
    """
    try:
        import optuna
        from optuna.storages import RDBStorage
    except ImportError as error:
        raise ImportError(
            'Sweeps need Optuna: pip install "mmdet_retina_plus[sweep]"'
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if '://' in storage:
        try:
            return RDBStorage(storage)
        except ImportError:
            raise
        except Exception as error:  # Of any database and its driver.
            raise ValueError(f'The storage cannot be used: {error}') from error
    file = Path(storage)
    if not file.parent.is_dir():
        raise ValueError(f'There is no folder {file.parent} for a journal')
    return open_journal(file)


def open_journal(file: Path) -> Any:
    """A journal that survives a writer which was killed inside of a line.

    What it left is half a line. Optuna's own backend would write the next
    line behind it, and the whole study could not be read any more.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import (
        JournalFileBackend,
        JournalFileSymlinkLock,
    )

    lock = JournalFileSymlinkLock(str(file))

    class Backend(JournalFileBackend):
        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            if not is_whole(file):
                cut_off_half(file, lock)
            super().append_logs(logs)

    return JournalStorage(Backend(str(file), lock))


def cut_off_half(journal: Path, lock: Any) -> None:
    """Cut off the half of a line at the end."""
    lock.acquire()
    try:
        # Not if a writer that lives has finished it meanwhile.
        if not is_whole(journal):
            content = journal.read_bytes()
            os.truncate(journal, content.rfind(b'\n') + 1)
    finally:
        lock.release()


def is_whole(journal: Path) -> bool:
    """Whether the last line has an end."""
    with journal.open('rb') as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read() == b'\n'


def patient(method: Method) -> Method:
    """Repeat a method while the storage is unreachable.

    A database that restarts, or a disk that is away for a minute, must not
    cost a training its result.

    Args:
        method: Method of an object, or function whose first argument is one,
            with `grace`, the longest wait in seconds, and `stop`, an event
            that ends the wait.

    Raises:
        StorageError: Still unreachable after `grace` seconds, or `stop` is
            set.
    """

    @wraps(method)
    def repeated(self, *args, **kwargs):
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import DBAPIError

        deadline = time.monotonic() + self.grace
        told = False
        while True:
            try:
                return method(self, *args, **kwargs)
            except (StorageInternalError, DBAPIError, OSError) as error:
                if self.stop.is_set() or time.monotonic() > deadline:
                    raise StorageError(
                        f'The storage is unreachable: {error}'
                    ) from error
                if not told:
                    logger.warning('Waiting for the storage: %s', error)
                    told = True
                self.stop.wait(PAUSE)

    return cast(Method, repeated)

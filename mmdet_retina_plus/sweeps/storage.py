"""Open Optuna's storages, wait for them, repair journals after a kill."""

import logging
import os
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy.exc import DBAPIError

logger = logging.getLogger(__name__)
Method = TypeVar('Method', bound=Callable[..., Any])
PAUSE = 2.0
"""Seconds between two attempts to reach a storage."""


class StorageError(ValueError):
    """Storage still unreachable after `grace` seconds, or at a stop."""


def open_storage(storage: str) -> BaseStorage:
    """Open the storage at a database's URL or a journal's path.

    Raises:
        ValueError: The storage cannot be reached.
        ImportError: The database's driver is missing.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if '://' in storage:
        try:
            return RDBStorage(storage)
        except ImportError:
            raise
        except Exception as error:  # From any database and its driver.
            raise ValueError(f'The storage cannot be used: {error}') from error
    file = Path(storage)
    if not file.parent.is_dir():
        raise ValueError(f'There is no folder {file.parent} for a journal')
    return JournalStorage(WholeLinesBackend(file))


class WholeLinesBackend(JournalFileBackend):
    """A journal file that survives a writer killed inside a line.

    The writer leaves half a line. Optuna's own backend would append the next
    line to it, and the whole study would be unreadable.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lock = JournalFileSymlinkLock(str(file))
        super().__init__(str(file), self.lock)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if not is_whole(self.file):
            self.cut_off_half()
        super().append_logs(logs)

    def cut_off_half(self) -> None:
        """Cut off the half line at the end."""
        self.lock.acquire()
        try:
            # Not if a living writer has finished it meanwhile.
            if not is_whole(self.file):
                content = self.file.read_bytes()
                os.truncate(self.file, content.rfind(b'\n') + 1)
        finally:
            self.lock.release()


def is_whole(journal: Path) -> bool:
    """Whether the last line of a journal is complete."""
    with journal.open('rb') as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read() == b'\n'


def patient(method: Method) -> Method:
    """Repeat a method while the storage is unreachable.

    A restart of the database, or a disk that is unreachable for a minute, must
    not cost a training its result.

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

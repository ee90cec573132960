"""Files that a command writes: never over its input, and whole."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import Any


def check_out(out: Path, inputs: Iterable[str | Path]) -> None:
    """Refuse a file that could not be written, or is an input.

    Args:
        out: File to write.
        inputs: Files, or addresses, that the command reads.

    Raises:
        ValueError: With the fix.
    """
    out = target_of(out)
    check_writable(out.parent)
    if not out.parent.is_dir():
        raise ValueError(
            f'There is no folder {out.parent} for {out.name}: make it by '
            f'`mkdir -p {quote(str(out.parent))}`'
        )
    if not out.exists():
        return
    for name in inputs:
        if Path(name).exists() and out.samefile(name):
            raise ValueError(
                f'{out} would overwrite what is read: name another --out'
            )


def replace(file: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; text as UTF-8."""
    file = target_of(file)
    part = part_of(file)
    try:
        write_part(part, content)
        put_in_place(part, file)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def replacing(file: Path, content: str | bytes) -> Iterator[None]:
    """Write a file whole, which gets its name at the end of the block.

    During the block there is none of that name, so that what the block writes
    is never beside an earlier one, even where a kill ends it.

    Raises:
        OSError: It cannot be written; an earlier one stays.
    """
    file = target_of(file)
    part = part_of(file)
    try:
        write_part(part, content)
        file.unlink(missing_ok=True)
        yield
        put_in_place(part, file)
    finally:
        part.unlink(missing_ok=True)


def write_part(part: Path, content: str | bytes) -> None:
    if isinstance(content, str):
        content = content.encode()
    part.write_bytes(content)
    # Else a power cut may leave the new name without the content.
    with part.open('rb+') as stream:
        os.fsync(stream.fileno())


def put_in_place(part: Path, file: Path) -> None:
    """Give a part its file's name, which holds after a power cut too."""
    os.replace(part, file)
    # Not every file system can flush a folder; the file is whole anyway.
    with suppress(OSError):
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def target_of(file: Path) -> Path:
    """Where a file's content lies, which a link stays to."""
    return file.resolve() if file.is_symlink() else file


def part_of(file: Path) -> Path:
    """Where a file is written until it is whole."""
    return file.with_name(f'{file.name}.{os.getpid()}.part')


class RowsFile:
    """A JSON array on its way to a file, so that memory holds none of it.

    Each item is a line. They lie beside `file` until `finish` gives them a
    name; without it, the end of the ``with`` block removes them.

    Args:
        file: Where they are meant to go.

    Attributes:
        count: Number of items.

    Raises:
        OSError: The file beside it cannot be made.
    """

    def __init__(self, file: Path) -> None:
        self.part = part_of(target_of(file))
        self.stream = self.part.open('wb')
        self.size = 0
        self.count = 0

    def __enter__(self) -> 'RowsFile':
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(OSError):  # A full disk, which `extend` has told.
            self.stream.close()
        self.part.unlink(missing_ok=True)

    def extend(self, texts: Sequence[str]) -> None:
        """Add items that are JSON already, all of them or none."""
        if not texts:
            return
        lines = (',\n' if self.count else '[') + ',\n'.join(texts)
        content = lines.encode()
        # An interruption, or a full disk, may have left a piece.
        self.stream.seek(self.size)
        self.stream.write(content)
        self.stream.flush()
        self.size += len(content)
        self.count += len(texts)

    def finish(self, file: Path) -> None:
        """Close the array and put it in the place of a file."""
        self.stream.seek(self.size)
        self.stream.truncate()
        self.stream.write(b']' if self.count else b'[]')
        self.stream.flush()
        # As of `write_part`.
        os.fsync(self.stream.fileno())
        self.stream.close()
        put_in_place(self.part, target_of(file))


def read_rows(file: Path) -> Iterator[tuple[Any, str]]:
    """Items of a `RowsFile`, one by one, with their text.

    Raises:
        ValueError: The file is none, or ends early.
    """
    with file.open(encoding='utf-8') as stream:
        line = ''
        for line in stream:
            text = line.strip().removeprefix('[').rstrip('],')
            if text:
                try:
                    yield json.loads(text), text
                except ValueError as error:
                    raise ValueError(f'{file} is damaged: {error}') from error
        if not line.endswith(']'):
            raise ValueError(f'{file} ends early')


def check_folder(out: Path, files: Iterable[Path]) -> None:
    """Refuse a folder that results cannot go to, without making it.

    Args:
        out: Folder to write into.
        files: What will be written there.

    Raises:
        ValueError: It cannot be made, or not be written into.
    """
    check_writable(out)
    for file in files:
        if file.is_dir():
            raise ValueError(
                f'{file} is a folder: move it, or name another --out'
            )


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made, or not be written into.

    Raises:
        ValueError: A file is in its place, or its permissions forbid it.
    """
    there = next(
        path for path in (folder, *folder.parents) if os.path.lexists(path)
    )
    if not there.is_dir():
        raise ValueError(f'Cannot make the folder {folder}: {there} is a file')
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(
            f'The folder {there} cannot be written into: name another'
        )

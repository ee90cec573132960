"""Write files atomically and never over an input."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import Any


def check_out(out: Path, inputs: Iterable[str | Path]) -> None:
    """Refuse an output file that cannot be written or is an input.

    Args:
        out: File to write.
        inputs: Files or URLs that the command reads.

    Raises:
        ValueError: With the fix.
    """
    out = target_of(out)
    check_writable(out.parent)
    if not out.parent.is_dir():
        raise ValueError(
            f'There is no folder {out.parent} for {out.name}: create it with '
            f'`mkdir -p {quote(str(out.parent))}`'
        )
    if not out.exists():
        return
    there = out.stat()
    # One call of the file system for each of possibly millions of inputs.
    if any(is_at(name, there) for name in inputs):
        raise ValueError(f'{out} would overwrite an input: name another --out')


def is_at(name: str | Path, there: os.stat_result) -> bool:
    """Whether a name leads to the file of a stat result."""
    try:
        return os.path.samestat(there, os.stat(name))
    except (OSError, ValueError):  # It is missing, or a URL.
        return False


def replace(file: Path, content: str | bytes) -> None:
    """Write a file completely or not at all; text as UTF-8."""
    file = target_of(file)
    part = part_of(file)
    try:
        write_part(part, content)
        put_in_place(part, file)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def replacing(file: Path, content: str | bytes) -> Iterator[None]:
    """Write a file that appears under its name at the end of the block.

    An earlier file of that name is removed before the block. So files that the
    block writes never lie next to an outdated one, even if it is killed.

    Raises:
        OSError: The file cannot be written; an earlier one stays.
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
    # Otherwise a power failure may leave the name without the content.
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
    """The target of a link, so that writing keeps the link."""
    return file.resolve() if file.is_symlink() else file


def part_of(file: Path) -> Path:
    """Path of a file until it is complete."""
    return file.with_name(f'{file.name}.{os.getpid()}.part')


class RowsFile:
    """A JSON array written item by item, so that memory holds none of it.

    Each item is a line. The array is a temporary file next to `file` until
    `finish` renames it; without `finish`, the end of the ``with`` block
    removes it.

    Args:
        file: Path whose folder holds the temporary file.

    Attributes:
        count: Number of items.

    Raises:
        OSError: The temporary file cannot be created.
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
        with suppress(OSError):  # A full disk, which `extend` has reported.
            self.stream.close()
        self.part.unlink(missing_ok=True)

    def extend(self, texts: Sequence[str]) -> None:
        """Append items in JSON, all of them or none."""
        if not texts:
            return
        lines = (',\n' if self.count else '[') + ',\n'.join(texts)
        content = lines.encode()
        # An interruption or a full disk may have left an incomplete item.
        self.stream.seek(self.size)
        self.stream.write(content)
        self.stream.flush()
        self.size += len(content)
        self.count += len(texts)

    def finish(self, file: Path) -> None:
        """Close the array and move it to a file, replacing it."""
        self.stream.seek(self.size)
        self.stream.truncate()
        self.stream.write(b']' if self.count else b'[]')
        self.stream.flush()
        # See `write_part`.
        os.fsync(self.stream.fileno())
        self.stream.close()
        put_in_place(self.part, target_of(file))


def read_rows(file: Path) -> Iterator[tuple[Any, str]]:
    """Yield the items of a `RowsFile` and their text.

    Raises:
        ValueError: The file is not a `RowsFile` or ends early.
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
    """Refuse a folder that cannot take results, without creating it.

    Args:
        out: Folder to write into.
        files: Files to be written there.

    Raises:
        ValueError: The folder cannot be created or written into.
    """
    check_writable(out)
    for file in files:
        if file.is_dir():
            raise ValueError(
                f'{file} is a folder: move it, or name another --out'
            )


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be created or written into.

    Raises:
        ValueError: A file has its name, or permissions forbid it.
    """
    there = next(
        path for path in (folder, *folder.parents) if os.path.lexists(path)
    )
    if not there.is_dir():
        raise ValueError(
            f'Cannot create the folder {folder}: {there} is a file'
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f'Cannot write into the folder {there}: name another')

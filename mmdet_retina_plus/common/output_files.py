"""Files that a command writes: never over its input, and whole."""

import os
from collections.abc import Iterable
from pathlib import Path


def check_out(out: Path, inputs: Iterable[str | Path]) -> None:
    """Refuse a file that could not be written, or is an input.

    Args:
        out: File to write.
        inputs: Files, or addresses, that the command reads.

    Raises:
        ValueError: With the way out.
    """
    if not out.parent.is_dir():
        raise ValueError(f'There is no folder {out.parent} for {out.name}')
    if not out.exists():
        return
    for name in inputs:
        if Path(name).exists() and out.samefile(name):
            raise ValueError(
                f'{out} would overwrite what is read: name another --out'
            )


def replace(file: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; text as UTF-8."""
    if isinstance(content, str):
        content = content.encode()
    part = file.with_name(f'{file.name}.{os.getpid()}.part')
    try:
        part.write_bytes(content)
        # Else a power cut may leave the new name without the content.
        with part.open('rb+') as stream:
            os.fsync(stream.fileno())
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def check_folder(out: Path, files: Iterable[Path]) -> None:
    """Refuse a folder that results cannot go to, without making it.

    Args:
        out: Folder to write into.
        files: What will be written there.

    Raises:
        ValueError: It cannot be made, or not be written into.
    """
    there = next(path for path in (out, *out.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ValueError(f'Cannot make the folder {out}: {there} is a file')
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f'The folder {there} cannot be written into')
    for file in files:
        if file.is_dir():
            raise ValueError(
                f'{file} is a folder: move it, or name another --out'
            )

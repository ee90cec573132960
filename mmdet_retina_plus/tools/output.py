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
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)

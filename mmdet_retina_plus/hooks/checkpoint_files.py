"""Checkpoint files that stay complete when a training is killed."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar
from zipfile import ZipFile

from mmengine.fileio import LocalBackend, register_backend

from mmdet_retina_plus.common import output_files

BACKEND = 'whole_files'
"""Name in mmengine: ``checkpoint=dict(backend_args=dict(backend=…))``."""


@register_backend(BACKEND)
class WholeFileBackend(LocalBackend):
    """Files on disk, each written completely or not at all.

    mmengine's CheckpointHook removes the oldest checkpoint before it writes
    the next; with ``max_keep_ckpts=1`` this is the only one. Here a removed
    file stays until the next one is written.
    """

    outdated: ClassVar[list[Path]] = []
    """Shared, since mmengine removes and writes through separate objects."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file, then remove the outdated ones.

        Raises:
            OSError: It cannot be written, for example to a full disk. An
                existing file stays.
        """
        file = Path(filepath)
        file.parent.mkdir(parents=True, exist_ok=True)
        # Left by a process that was killed while it wrote the same file.
        for part in file.parent.glob(f'{file.name}.*.part'):
            part.unlink(missing_ok=True)
        try:
            output_files.replace(file, obj)
        except OSError as error:
            raise OSError(
                error.errno,
                f'Cannot write checkpoint {file}: {error.strerror}. Earlier '
                'checkpoints are as they were: make room and train with '
                '--resume',
            ) from error
        while self.outdated:
            old = self.outdated.pop()
            if old != file:
                old.unlink(missing_ok=True)

    def remove(self, filepath: str | Path) -> None:
        self.outdated.append(Path(filepath))


def is_broken(path: Path) -> bool:
    """Whether a checkpoint is truncated or damaged, by its checksums.

    Files of torch < 1.6 are not zip archives; torch.load checks them.
    """
    if path.is_dir():  # DeepSpeed writes folders.
        return False
    with path.open('rb') as file:
        start = file.read(2)
    if start and start != b'PK':
        return start[:1] != b'\x80'
    try:
        with ZipFile(path) as archive:
            return archive.testzip() is not None
    except Exception:  # Damaged headers may raise anything.
        return True


def checkpoints_in(folder: Path, templates: Iterable[str]) -> list[Path]:
    """Find the checkpoints of a folder, the highest number first.

    Args:
        folder: Folder of the checkpoints.
        templates: Names with one field for the number, such as
            ``iter_{}.pth``.
    """
    found = {}
    for template in templates:
        parts = map(re.escape, re.split(r'\{.*?\}', template))
        name = re.compile(r'(\d+)'.join(parts))
        for path in folder.iterdir():
            if match := name.fullmatch(path.name):
                found[path] = int(match[1])
    return sorted(found, key=lambda path: found[path], reverse=True)


def checkpoint_to_resume(
    pointer: str | None, work_dir: Path, templates: Iterable[str]
) -> Path | None:
    """Find the checkpoint that a training resumes from.

    Args:
        pointer: Contents of the file ``last_checkpoint``; None without one.
        work_dir: Work directory of the training.
        templates: See ``checkpoints_in``.

    Returns:
        The checkpoint of the pointer, otherwise the complete one with the
        highest number; None if there is no checkpoint.

    Raises:
        ValueError: No checkpoint is complete.
    """
    last = Path(pointer) if pointer else None
    if last is not None and last.exists() and not is_broken(last):
        return last
    folder = work_dir
    if last is not None and last.parent.is_dir():
        folder = last.parent
    files = checkpoints_in(folder, templates)
    for path in files:
        if not is_broken(path):
            return path
    if files or pointer is not None:
        raise ValueError(
            f'last_checkpoint names {pointer or "nothing"}, and {folder} has '
            'no complete checkpoint: delete last_checkpoint and the broken '
            'ones to start over'
        )
    return None

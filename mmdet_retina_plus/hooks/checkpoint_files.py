"""Checkpoint files that stay complete when a training is killed."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar
from zipfile import BadZipFile, ZipFile

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
    """Whether a checkpoint is truncated.

    Files of torch < 1.6 are not zip archives; torch.load checks them.
    """
    if path.is_dir():  # DeepSpeed writes folders.
        return False
    with path.open('rb') as file:
        start = file.read(2)
    if start and start != b'PK':
        return start[:1] != b'\x80'
    try:
        ZipFile(path).close()
    except BadZipFile:
        return True
    return False


def newest_whole(folder: Path, templates: Iterable[str]) -> Path | None:
    """Find the newest checkpoint of a folder that is not truncated.

    Args:
        folder: Folder of the checkpoints.
        templates: Names with one field for the number, such as
            ``iter_{}.pth``.
    """
    patterns = [re.sub(r'\{.*?\}', '*', template) for template in templates]
    files = {path for pattern in patterns for path in folder.glob(pattern)}
    whole = [path for path in files if not is_broken(path)]
    return max(whole, key=lambda path: path.stat().st_mtime_ns, default=None)


def checkpoint_to_resume(
    pointer: str | None, work_dir: Path, templates: Iterable[str]
) -> Path | None:
    """Find the checkpoint that a training resumes from.

    Args:
        pointer: Contents of the file ``last_checkpoint``; None without one.
        work_dir: Work directory of the training.
        templates: See ``newest_whole``.

    Returns:
        The checkpoint of the pointer, otherwise the newest complete one; None
        if there is no checkpoint.

    Raises:
        ValueError: No checkpoint is complete.
    """
    last = Path(pointer) if pointer else None
    if last is not None and last.exists() and not is_broken(last):
        return last
    folder = work_dir
    if last is not None and last.parent.is_dir():
        folder = last.parent
    found = newest_whole(folder, templates)
    if found is None and pointer is not None:
        raise ValueError(
            f'last_checkpoint names {pointer or "nothing"}, which is not a '
            f'complete checkpoint, and {folder} has no other: delete '
            'last_checkpoint to start over'
        )
    return found

"""Checks of checkpoint files that need no torch."""

from pathlib import Path
from zipfile import is_zipfile

from .annotation_files import BINARY, contents, instead_of
from .text import some

ZIP = b'PK\x03'
PICKLE = b'\x80'
"""First bytes of files of torch: `ZIP` since 1.6, `PICKLE` before."""


def check_checkpoint(name: str, config: str) -> None:
    """Refuse a checkpoint that does not exist or was not written by torch.

    Args:
        name: File or URL; a URL is not checked.
        config: Config file, whose work folder is searched for a suggestion.

    Raises:
        ValueError: With the fix.
    """
    if '://' in name:
        return
    file = Path(name).expanduser()
    if file.is_dir():
        raise ValueError(
            f'{name} is a folder: name a checkpoint in it, {held_by(file)}'
        )
    if not file.exists():
        raise ValueError(f'there is no file {name}; {others(file, config)}')
    try:
        with file.open('rb') as stream:
            begin = stream.read(3)
    except OSError as error:
        raise ValueError(f'Cannot read {name}: {error.strerror}') from error
    if not begin:
        raise ValueError(f'{name} is empty: copy it again')
    if begin == ZIP:
        # A ZIP archive ends with its directory.
        if not is_zipfile(file):
            raise ValueError(f'{name} is truncated: copy it again')
    elif not begin.startswith(PICKLE):
        kind = BINARY.get(begin)
        raise ValueError(
            f'{name} is {f"{kind}, not" if kind else "not"} a checkpoint: '
            'name the .pth file that training wrote'
        )


def checkpoints_in(folder: Path) -> list[str]:
    """Names of checkpoints in a folder, oldest first."""
    files = [x for x in folder.glob('*.pth') if x.is_file()]
    return [x.name for x in sorted(files, key=lambda x: x.stat().st_mtime)]


def held_by(folder: Path) -> str:
    """List the latest checkpoints of a folder, for a message."""
    names = checkpoints_in(folder)[::-1]
    place = folder if folder.name else folder.absolute()
    return f'{place} holds {some(names)}' if names else contents(folder)


def others(file: Path, config: str) -> str:
    """Suggest checkpoints, or else list the folder, for a message."""
    hint = instead_of(file)
    if not hint.startswith('did you mean'):
        trained = Path('work_dirs') / Path(config).stem
        for folder in (file.parent, trained):
            if checkpoints_in(folder):
                return held_by(folder)
    return hint

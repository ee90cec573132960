"""Read annotation files, with errors that suggest the file that was meant."""

import json
import os
from pathlib import Path
from typing import Any

from .suggestions import near_name
from .text import some

ENCODINGS = {
    b'\xef\xbb\xbf': ('UTF-8 with a byte order mark', 'utf-8-sig'),
    b'\xff\xfe': ('UTF-16', 'utf-16'),
    b'\xfe\xff': ('UTF-16', 'utf-16'),
}
"""First bytes, name of the encoding, Python's codec."""
BINARY = {
    b'\xff\xd8\xff': 'a JPEG',
    b'\x89PN': 'a PNG',
    b'PK\x03': 'a ZIP archive',
    b'\x1f\x8b\x08': 'compressed by gzip',
}
"""First three bytes and kind of file."""
ANOTHER = 'name an existing file'
REWRITE = (
    'python -c "from pathlib import Path; p = Path({path!r}); '
    "p.write_text(p.read_text('{codec}'), 'utf-8')\""
)


class UnreadableError(ValueError):
    """An annotation file does not exist, or is not JSON or COCO.

    Attributes:
        message: What is wrong.
        fix: How to fix it.
        fix_in_config: How to fix it in a data set's config.
    """

    def __init__(
        self, message: str, fix: str, fix_in_config: str = ''
    ) -> None:
        super().__init__(f'{message}: {fix}')
        self.message = message
        self.fix = fix
        self.fix_in_config = fix_in_config or fix


def contents(folder: Path) -> str:
    """List the first names in a folder, for a message."""
    names = sorted(x.name for x in folder.iterdir() if x.name[0] != '.')
    return f'{folder} holds {some(names, 5) or "nothing"}'


def existing_parent(path: Path) -> Path:
    return next(x for x in path.absolute().parents if x.is_dir())


def instead_of(path: Path) -> str:
    """Suggest a similar file, or else list the folder, for a message."""
    folder = existing_parent(path)
    if path.parent.is_dir():
        names = [x.stem for x in folder.glob(f'*{path.suffix}')]
        near = near_name(path.stem, names)
        if near:
            return f'did you mean {path.with_stem(near)}?'
    return contents(folder)


def missing_file(path: str) -> UnreadableError:
    """Make the error about a missing file, with a suggestion."""
    parent = existing_parent(Path(path))
    if parent != Path(path).absolute().parent:
        name = Path(path).name
        places = [parent / name, *sorted(parent.glob(f'*/{name}'))]
        # A name may be too long for a file.
        found = next(filter(os.path.isfile, places), None)
        lost = os.path.dirname(path)
        message = f'there is no folder {lost}; {contents(parent)}'
        if found is None:
            fix = 'correct data_root or ann_file'
            return UnreadableError(message, ANOTHER, fix)
        fix = f"data_root='' and ann_file='{found}'"
        return UnreadableError(message, f'did you mean {found}?', fix)
    names = [x.name for x in parent.glob('*.json')]
    guess = near_name(Path(path).name, names)
    if not guess and len(names) == 1:
        guess = names[0]
    message = f'there is no file {path}; {contents(parent)}'
    if not guess:
        fix = 'set ann_file to an existing file'
        return UnreadableError(message, ANOTHER, fix)
    fix = f"ann_file='…/{guess}' instead of '…/{Path(path).name}'"
    return UnreadableError(
        message, f'did you mean {Path(path).with_name(guess)}?', fix
    )


def not_utf8(
    path: str, begin: bytes, error: UnicodeDecodeError
) -> UnreadableError:
    """Make the error about a file in another encoding, or of another kind.

    Args:
        path: Path of the file.
        begin: Its first three bytes.
        error: The exception that Python raised.
    """
    try:
        json.loads(Path(path).read_text('latin-1'))
    except ValueError:
        return UnreadableError(
            f'{path} is {BINARY.get(begin, "no text")}, not JSON',
            'name a JSON file',
        )
    return UnreadableError(
        f'{path} is not UTF-8: {error}',
        REWRITE.format(path=path, codec='latin-1'),
    )


def read_json(path: str) -> Any:
    """Read a JSON file.

    Raises:
        UnreadableError: It does not exist or is not JSON in UTF-8.
    """
    if not os.path.exists(path):
        raise missing_file(path)
    try:
        with open(path, 'rb') as file:
            begin = file.read(3)
        for mark, (name, codec) in ENCODINGS.items():
            if begin.startswith(mark):
                raise UnreadableError(
                    f'{path} is {name}, not plain UTF-8',
                    REWRITE.format(path=path, codec=codec),
                )
        if not begin:
            raise UnreadableError(f'{path} is empty', 'write or copy it again')
        with open(path, encoding='utf-8') as text:
            return json.load(text)
    except UnicodeDecodeError as error:
        raise not_utf8(path, begin, error) from error
    except json.JSONDecodeError as error:
        if error.msg == 'Extra data':
            raise UnreadableError(
                f'{path} holds several JSON objects one after the other: '
                f'{error}',
                'join their lists into one object, with unique ids',
            ) from error
        if error.msg.startswith('Expecting property name') and b"'" in begin:
            raise UnreadableError(
                f'{path} is a printed Python dict, not JSON: {error}',
                'write it with json.dump(annotations, file), not '
                'str(annotations)',
            ) from error
        raise UnreadableError(
            f'{path} is not JSON, or is truncated: {error}',
            f'write or copy it again; `python -m json.tool {path}` shows '
            'where it breaks',
        ) from error
    except RecursionError as error:
        raise UnreadableError(
            f'{path} is nested too deeply to read', 'name another JSON file'
        ) from error
    except OSError as error:
        raise UnreadableError(
            f'cannot read {path}: {error.strerror or error}',
            'name a JSON file',
        ) from error

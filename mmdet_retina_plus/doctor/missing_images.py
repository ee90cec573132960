"""Find image files that are missing under their names."""

import json
import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from unicodedata import normalize
from urllib.parse import unquote

from mmdet_retina_plus.common.annotation_files import contents, existing_parent
from mmdet_retina_plus.common.text import quantity, some

from .findings import Finding
from .image_files import Looks
from .split import Split

MOST_BESIDE = 1000
"""Maximum number of folder entries to search for missing images."""


def others_of(name: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield paths that a file name may refer to, each with its fix."""
    plain = unquote(name).replace('\\', '/').strip()
    parts = Path(plain).parts
    for at in range(len(parts)):
        tail = '/'.join(parts[at:])
        if tail != name:
            yield tail, f'write "file_name": "{tail}", not "{name}"'
    for above in (folder.parent, folder.parent.parent):
        yield (
            f'{os.path.relpath(above, folder)}/{plain}',
            f"data_root='', data_prefix=dict(img='{above}')",
        )


def plain_stem(name: str) -> str:
    """Normalise a stem: undo what common tools add or change.

    Label Studio prepends eight hash digits, other tools pad numbers with
    zeros, and macOS decomposes accented letters.
    """
    stem = normalize('NFC', Path(name).stem.lower())
    stem = re.sub(r'^[0-9a-f]{8}-', '', stem)
    return re.sub(r'(?<!\d)0+(?=\d)', '', stem)


class Listing:
    """Files of folders by lower-case name, stem and normalised stem."""

    def __init__(self) -> None:
        self.folders: dict[str, dict[str, str]] = {}

    def __call__(self, folder: str) -> dict[str, str]:
        if folder not in self.folders:
            names = os.listdir(folder) if os.path.isdir(folder) else []
            loose = {plain_stem(name): name for name in names}
            stems = {Path(name).stem.lower(): name for name in names}
            whole = {name.lower(): name for name in names}
            self.folders[folder] = loose | stems | whole
        return self.folders[folder]


def near_match(name: str, folder: Path, listed: Listing) -> tuple[str, str]:
    """Find an existing file that a name may mean; '' if there is none."""
    for tail, fix in others_of(name, folder):
        if os.path.isfile(os.path.normpath(folder / tail)):
            return os.path.normpath(tail), fix
    for tail in (name, *(tail for tail, _ in others_of(name, folder))):
        there = listed(os.path.normpath(folder / Path(tail).parent))
        last = Path(tail).name
        keys = (last.lower(), Path(last).stem.lower(), plain_stem(last))
        same = next((there[key] for key in keys if key in there), '')
        if same:
            found = (Path(tail).parent / same).as_posix()
            # Names that look alike are shown with escape sequences.
            alike = normalize('NFC', found) == normalize('NFC', name)
            right, wrong = (
                json.dumps(x, ensure_ascii=alike) for x in (found, name)
            )
            return found, f'write "file_name": {right}, not {wrong}'
    return '', ''


def check_missing(split: Split, looks: Looks) -> list[Finding]:
    names = [
        image['file_name']
        for image, path in zip(split.images, split.paths, strict=True)
        if looks[path].missing
    ]
    if not names:
        return []
    message = (
        f'{len(names)} of {quantity(len(split.images), "image file")} cannot '
        f'be opened: {some(names)}'
    )
    near, fix = near_match(names[0], split.image_dir, Listing())
    if near:
        return split.fail(f'{message}; {near} is there', fix)
    folder = folder_of(names[0], split.image_dir)
    if folder is not None and len(names) == len(split.images):
        return split.fail(
            f'{message}; {folder} has {names[0]}',
            f"data_root='', data_prefix=dict(img='{folder}')",
        )
    parent = existing_parent(split.image_dir / 'name')
    return split.fail(
        f'{message}; {contents(parent)}',
        f'put them into {split.image_dir}, or set data_root and '
        'data_prefix=dict(img=…) in this dataset',
    )


def folder_of(name: str, folder: Path) -> Path | None:
    """Find a folder next to or below another that contains a file."""
    parent = existing_parent(folder / 'name')
    for above in dict.fromkeys((parent, parent.parent)):
        for beside in islice(sorted(above.iterdir()), MOST_BESIDE):
            if beside.is_dir() and (beside / name).is_file():
                return beside
    return None

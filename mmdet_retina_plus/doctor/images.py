"""Image files against the annotation file and the loader that reads them."""

import contextlib
import json
import os
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any
from unicodedata import normalize
from urllib.parse import unquote

import numpy as np

from mmdet_retina_plus.common.annotation_files import contents, existing_parent
from mmdet_retina_plus.common.config_tree import kind
from mmdet_retina_plus.common.exif import MIRRORED, ROTATED
from mmdet_retina_plus.common.text import clause, quantity, some, verb

from .findings import Finding
from .image_files import (
    Look,
    Track,
    copies_among,
    follows_orientation,
    look_at_all,
    show_the_same,
)
from .split import Split

MOST_BESIDE = 1000
"""Entries of a folder to look into, for images that are not there."""
DARK = 128
"""Highest value of images below which bits are lost that hold the picture."""
LABELS = 32
"""Highest value of 8-bit images below which they may be label maps."""
PAIR = 2
"""Files of one content that may be a copy; more were written by mistake."""
SAMPLE = 200
"""Images that are decoded where not all are."""
TRIALS = 8
"""Files to find out with whether a step loads images."""
POINTER = b'version https://git-lfs'
"""How Git LFS's pointers begin."""
NO_SIZE = (0, 0)
"""Of an image whose header cannot be read."""
USUAL = 'LoadImageFromFile'
Looks = Mapping[str, Look]


def paths_of(split: Split) -> list[str]:
    folder = str(split.image_dir)
    return [os.path.join(folder, x['file_name']) for x in split.images]


def loading_step(split: Split) -> Mapping:
    """The step that reads the file, {} where none does."""
    paths = paths_of(split)
    paths = paths[:: max(len(paths) // TRIALS, 1)]
    steps = [step for step in split.pipeline if isinstance(step, Mapping)]
    return next((step for step in steps if gives_image(step, paths)), {})


def gives_image(step: Mapping, paths: Sequence[str]) -> bool:
    """Whether a step loads one of some files; mmdet's own is known to."""
    from mmdet.registry import TRANSFORMS

    if kind(step) == USUAL:
        return True
    try:
        load = TRANSFORMS.build(dict(step))
    except Exception:  # Others report it.
        return False
    for path in paths:
        with contextlib.suppress(Exception):
            if 'img' in load({'img_path': path}):
                return True
    return False


def build_loader(split: Split) -> Any:
    """The loading step, built; None if that fails, which others report."""
    from mmdet.registry import TRANSFORMS

    try:
        return TRANSFORMS.build(dict(loading_step(split)))
    except Exception:
        return None


def look_at_images(
    splits: Sequence[Split], fast: bool, track: Track = iter
) -> dict[str, Look]:
    """Look at all images, by path: headers, and decode all or a sample."""
    looks: dict[str, Look] = {}
    for split in splits:
        paths = [path for path in paths_of(split) if path not in looks]
        load = build_loader(split)
        if load is not None and not fast:
            looks |= look_at_all(paths, load, track)
            continue
        headers = look_at_all(paths, None, track)
        if split.pipeline and kind(loading_step(split)) != USUAL:
            # A loader of the user's reads what others cannot.
            headers = {
                path: look if look.missing else replace(look, error='')
                for path, look in headers.items()
            }
        looks |= headers
        if load is None:
            continue
        chosen = random.Random(0).sample(paths, min(SAMPLE, len(paths)))
        kinds = defaultdict(list)
        for path in paths:
            kinds[looks[path].format, looks[path].deep].append(path)
        chosen += [path for alike in kinds.values() for path in alike[:3]]
        looks |= look_at_all(chosen, load)
    return looks


def others_of(name: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Paths that may be meant by a name, each with the fix."""
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
    """A stem without what tools add to it or change in it.

    Label Studio puts eight digits of a hash before it, others zeros before a
    number, and macOS takes letters and their accents apart.
    """
    stem = normalize('NFC', Path(name).stem.lower())
    stem = re.sub(r'^[0-9a-f]{8}-', '', stem)
    return re.sub(r'(?<!\d)0+(?=\d)', '', stem)


class Listing:
    """Files of folders by their names, and stems, in small letters."""

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
    """An existing file that a name may mean, and the fix; '' for none."""
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
            # Letters that look alike are told by their numbers.
            alike = normalize('NFC', found) == normalize('NFC', name)
            right, wrong = (
                json.dumps(x, ensure_ascii=alike) for x in (found, name)
            )
            return found, f'write "file_name": {right}, not {wrong}'
    return '', ''


def check_missing(split: Split, looks: Looks) -> list[Finding]:
    names = [
        image['file_name']
        for image, path in zip(split.images, paths_of(split), strict=True)
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
    """A folder beside or below another that has a file of a name."""
    parent = existing_parent(folder / 'name')
    for above in dict.fromkeys((parent, parent.parent)):
        for beside in islice(sorted(above.iterdir()), MOST_BESIDE):
            if beside.is_dir() and (beside / name).is_file():
                return beside
    return None


def check_readable(split: Split, looks: Looks) -> list[Finding]:
    broken = [
        (image['file_name'], looks[path].error)
        for image, path in zip(split.images, paths_of(split), strict=True)
        if looks[path].error and not looks[path].missing
    ]
    if not broken:
        return []
    names = [name for name, _ in broken]
    pointers = [
        image['file_name']
        for image, path in zip(split.images, paths_of(split), strict=True)
        if looks[path].error and is_pointer(path)
    ]
    if pointers:
        return split.fail(
            f'{clause(len(pointers), "image file", "are")} pointers of Git '
            f'LFS, not images: {some(pointers)}',
            f'git -C {split.image_dir} lfs pull',
        )
    # Headers of all can be read: the loader is at fault.
    if len(broken) == len(split.images) and all(
        looks[path].size != NO_SIZE for path in paths_of(split)
    ):
        return split.fail(
            f'the loading step reads none of the '
            f'{quantity(len(broken), "image file")}: {broken[0][1]}',
            f"dict(type='LoadImageFromFile') in {split.key}.pipeline, "
            "backend_args=None, imdecode_backend='cv2'",
        )
    return split.fail(
        f'{len(broken)} of {quantity(len(split.images), "image file")} '
        f'cannot be decoded (truncated, empty or no image), training stops '
        f'there: {some(names)}: {broken[0][1]}',
        'copy them again, or delete them from the annotation file',
    )


def is_pointer(path: str) -> bool:
    """Whether Git LFS left the address of a file in its place."""
    if not os.path.isfile(path):
        return False
    with open(path, 'rb') as file:
        return file.read(len(POINTER)) == POINTER


def named(names: Sequence[str]) -> str:
    """Subject and verb: 2 images (a.png, b.png) have."""
    listed = f'{quantity(len(names), "image")} ({some(names)})'
    return f'{listed} {verb(len(names), "have")}'


def check_sizes(split: Split, looks: Looks) -> list[Finding]:
    """Width and height as loaded, and those of the annotation file."""
    follows = follows_orientation(loading_step(split))
    groups = defaultdict(list)
    example: dict[str, str] = {}
    for image, path in zip(split.images, paths_of(split), strict=True):
        seen = looks[path]
        if seen.missing or seen.error:
            continue
        said = (image['width'], image['height'])
        turns = seen.orientation in ROTATED
        size = seen.size[::-1] if turns and follows else seen.size
        if seen.shape:
            size = (seen.shape[1], seen.shape[0])
        if size == said:
            # Half a turn and mirrors leave the size as it is, and so does any
            # turn of a square.
            square = said[0] == said[1]
            hidden = seen.orientation in MIRRORED or (turns and square)
            reason = 'turned' if hidden and follows else ''
        elif turns and size == said[::-1]:
            reason = 'orientation'
        elif size == said[::-1]:
            reason = 'exchanged'
        else:
            reason = 'size'
        if reason:
            groups[reason].append(image['file_name'])
            example.setdefault(
                reason,
                '{} x {} loaded, {} x {} in the file'.format(*size, *said),
            )
    return [
        Finding(level, split.subject, message, fix)
        for reason, names in groups.items()
        for level, message, fix in [
            size_problem(reason, named(names), example[reason], follows)
        ]
    ]


def size_problem(
    reason: str, images: str, example: str, follows: bool
) -> tuple[Any, str, str]:
    """Level, message and fix of images whose size does not fit."""
    ignore = "color_type='color_ignore_orientation'"
    if reason == 'orientation' and follows:
        return (
            'error',
            f'{images} an EXIF orientation, which the loader applies, '
            f'and boxes of the pixels as stored: {example}',
            f"dict(type='LoadImageFromFile', {ignore}) in every pipeline",
        )
    if reason == 'orientation':
        return (
            'error',
            f'{images} an EXIF orientation, which the loader ignores, '
            f'and boxes of the turned image: {example}',
            "dict(type='LoadImageFromFile', color_type='color') in every "
            'pipeline',
        )
    if reason == 'turned':
        return (
            'warning',
            f'{images} an EXIF orientation that does not change the size; '
            'the loader applies it to the image, not to boxes',
            f"dict(type='LoadImageFromFile', {ignore}) in every pipeline, "
            'unless boxes were drawn on the turned image',
        )
    if reason == 'exchanged':
        return (
            'error',
            f'{images} width and height exchanged: {example}',
            'exchange "width" and "height" of these images in the '
            'annotation file, and see whether the boxes are right',
        )
    return (
        'error',
        f'{images} another size than the annotation file says: {example}',
        'write the size of the file into "width" and "height", and scale '
        'the boxes if they are of the other size',
    )


def last_value(highest: float) -> int:
    """Last value of the bits that images use, from the upper 8 of 16."""
    return 2 ** (8 + int(highest).bit_length()) - 1


def check_depth(split: Split, looks: Looks) -> list[Finding]:
    """Bits that the loader cuts, channels that differ."""
    step = loading_step(split)
    seen = [looks[path] for path in paths_of(split)]
    deep = sum(x.deep for x in seen)
    findings = []
    unchanged = step.get('color_type') == 'unchanged'
    if deep and kind(step) == 'LoadImageFromFile' and not unchanged:
        read = [x.highest for x in seen if x.deep and x.shape]
        highest = max(read, default=255)
        dark = (
            f': values of 0 to {highest:.0f}, not 255'
            if highest < DARK
            else ''
        )
        grey = str(step.get('color_type')).startswith('grayscale')
        windows = f'[(0, {last_value(highest)})]' + ('' if grey else ' * 3')
        findings += split.warn(
            f'{clause(deep, "image", "have")} more than 8 bits a channel, of '
            f'which the loader keeps the upper 8{dark}',
            "dict(type='LoadImageFromFile', color_type='unchanged'), "
            f"dict(type='WindowIntensity', windows={windows}) in every "
            'pipeline, see docs/medical-images.md',
        )
    channels = Counter(x.shape[2] for x in seen if x.shape)
    if len(channels) > 1:
        listed = ', '.join(f'{x} in {n}' for x, n in channels.most_common())
        usual = channels.most_common(1)[0][0]
        odd = [
            image['file_name']
            for image, look in zip(split.images, seen, strict=True)
            if look.shape and look.shape[2] != usual
        ]
        findings += split.fail(
            f'the images have different numbers of channels: {listed}; not '
            f'{usual}: {some(odd)}',
            "dict(type='LoadImageFromFile', color_type='color'), or convert "
            'the files',
        )
    return findings


def check_pages(split: Split, looks: Looks) -> list[Finding]:
    """Files of several images, of which the loader reads the first."""
    step = loading_step(split)
    if (
        kind(step) != 'LoadImageFromFile'
        or step.get('imdecode_backend') == 'tifffile'
    ):
        return []
    several = [
        (image['file_name'], looks[path].pages)
        for image, path in zip(split.images, paths_of(split), strict=True)
        if looks[path].pages > 1
    ]
    if not several:
        return []
    most = max(pages for _, pages in several)
    return split.warn(
        f'{clause(len(several), "file", "have")} up to {most} pages, of which '
        f'the loader reads the first: {some([x for x, _ in several])}',
        'write each page into a file of its own, with its own entry in '
        '"images"; slices of scans: see docs/medical-images.md',
    )


def may_be_labels(look: Look) -> bool:
    """Whether a decoded image of 8 bits is nearly black."""
    return bool(look.shape) and not look.deep and look.highest < LABELS


def check_brightness(split: Split, looks: Looks) -> list[Finding]:
    """Maps of labels in place of photographs."""
    # A loader of the user's may give any values.
    if kind(loading_step(split)) != USUAL:
        return []
    read = [x for x in map(looks.__getitem__, paths_of(split)) if x.shape]
    dark = [x for x in read if may_be_labels(x) and not x.flat]
    if 2 * len(dark) <= len(read):
        return []
    highest = max(x.highest for x in dark)
    return split.warn(
        f'{len(dark)} of {quantity(len(read), "decoded image")} '
        f'{verb(len(dark), "have")} values of 0 to {highest:.0f} of 255: '
        'label maps, not photographs?',
        f'{split.key}.data_prefix=dict(img=…), the folder of the photographs; '
        'dark photographs: stretch their values to 0 to 255',
    )


def check_flat(split: Split, looks: Looks) -> list[Finding]:
    """Images without a picture, in which nothing can be found."""
    full = set(split.image_of[split.usable].tolist())
    seen = list(map(looks.__getitem__, paths_of(split)))
    flat = [at for at, look in enumerate(seen) if look.flat and at in full]
    if not flat:
        return []
    read = sum(bool(look.shape) for look in seen)
    names = [split.images[at]['file_name'] for at in flat]
    shown = sorted({seen[at].highest for at in flat})
    return split.warn(
        f'{len(flat)} of {quantity(read, "decoded image")} '
        f'{verb(len(flat), "are")} of one colour (highest value '
        f'{" or ".join(f"{x:.0f}" for x in shown[:2])}), yet '
        f'{verb(len(flat), "have")} objects: {some(names)}',
        'write these files again, or delete them from the annotation file',
    )


def check_twice(split: Split, looks: Looks) -> list[Finding]:
    """One file under several ids: its objects are background once."""
    del looks
    ids = defaultdict(list)
    for image in split.images:
        ids[os.path.normpath(image['file_name'])].append(image['id'])
    twice = {name: x for name, x in ids.items() if len(x) > 1}
    if not twice:
        return []
    name, first = next(iter(twice.items()))
    return split.warn(
        f'{clause(len(twice), "image file", "are")} listed under several ids, '
        f'{name} under {some(first)}: what one lacks is background there',
        'keep one entry a file, and move the annotations of the others to '
        'its id',
    )


CHECKS = (
    check_missing,
    check_readable,
    check_sizes,
    check_depth,
    check_pages,
    check_brightness,
    check_flat,
    check_twice,
)


def check_shared(splits: Sequence[Split], looks: Looks) -> list[Finding]:
    """Images that training has twice, or that validation or test have, too."""
    # What cannot be decoded has no content to compare, and label maps or
    # black images may be equal by chance.
    copies = copies_among({
        path: look
        for path, look in looks.items()
        if not (look.error or look.flat or may_be_labels(look))
    })  # fmt: skip

    def content(path: str) -> Any:
        return copies.get(path) or os.path.abspath(path)

    findings = []
    train: dict[str, tuple[Split, int]] = {}
    for split in splits:
        findings += check_copies(split, copies)
        if split.trains:
            train |= {
                content(path): (split, at)
                for at, path in enumerate(paths_of(split))
            }
    for split in splits:
        if split.trains:
            continue
        shared = {
            at: train[content(path)]
            for at, path in enumerate(paths_of(split))
            if content(path) in train
        }
        if shared:
            findings += check_contradictions(split, shared) or split.warn(
                *leaked(split, list(shared))
            )
        else:
            findings += check_twins(split, [x for x in splits if x.trains])
    return findings


def check_twins(split: Split, training: Sequence[Split]) -> list[Finding]:
    """Copies of images of training in another format: by boxes, then looks.

    A box alone may be equal by chance, such as that of the whole image.
    """

    def several(split: Split) -> list[tuple[frozenset, str]]:
        paths = paths_of(split)
        boxes = boxes_at(split, range(len(paths)))
        return [
            (frozenset(x), paths[at]) for at, x in boxes.items() if len(x) > 1
        ]

    known = dict(pair for split in training for pair in several(split))
    own = several(split)
    pairs = [(path, known[boxes]) for boxes, path in own if boxes in known]
    if len(pairs) < 3 or len(pairs) < len(own) / 2:
        return []
    shown = pairs[:: len(pairs) // TRIALS + 1]
    if sum(show_the_same(*pair) for pair in shown) < len(shown) / 2:
        return []
    return split.warn(
        f'{len(pairs)} of its {len(own)} images with several objects have the '
        'boxes of an image of training, and look like it, as copies in '
        'another format do: AP is too high',
        'compare such images, and delete the copies from the annotation file '
        'of training or of validation',
    )


def leaked(split: Split, shared: Sequence[int]) -> tuple[str, str]:
    """Message and fix of images that training has, too."""
    names = [split.images[at]['file_name'] for at in shared]
    fix = 'delete them from the annotation file of training or of validation'
    if len(names) == len(split.images):
        fix = (
            f'{split.key}.ann_file=… and that of the evaluator: name a file '
            'of other images, for instance move a part of those of training '
            'into it'
        )
    return (
        f'{len(names)} of {quantity(len(split.images), "image")} '
        f'{verb(len(names), "belong")} to the training data, too, so AP is '
        f'too high: {some(names)}',
        fix,
    )


def boxes_at(split: Split, places: Sequence[int]) -> dict[int, set]:
    """Boxes of some images, in whole pixels."""
    found: dict[int, set] = {at: set() for at in places}
    chosen = split.usable & np.isin(split.image_of, list(places))
    rows = split.boxes[chosen].round().tolist()
    for at, box in zip(split.image_of[chosen].tolist(), rows, strict=True):
        found[at].add(tuple(box))
    return found


def check_contradictions(
    split: Split, shared: Mapping[int, tuple[Split, int]]
) -> list[Finding]:
    """Files of training that have none of its objects: other pictures.

    Args:
        split: Of validation or test.
        shared: Its images that training has, each with where that is.
    """
    ours = boxes_at(split, list(shared))
    trained: dict[str, dict[int, set]] = {}
    for one in {id(x): x for x, _ in shared.values()}.values():
        places = [at for x, at in shared.values() if x is one]
        trained[one.name] = boxes_at(one, places)
    pairs = [
        (at, ours[at], trained[one.name][place])
        for at, (one, place) in shared.items()
    ]
    both = [x for x in pairs if x[1] and x[2]]
    other = [at for at, own, theirs in both if own.isdisjoint(theirs)]
    if 2 * len(other) <= len(both):
        return []
    names = [split.images[at]['file_name'] for at in other]
    wrong, folder = split, split.image_dir
    if 'train' not in folder.name and re.search('val|test', folder.name):
        wrong = shared[other[0]][0]
    right = beside(names, folder)
    fix = (
        f'{wrong.key}.data_prefix.img=… the folder of its own images'
        if right is None
        else f"{wrong.key}.data_prefix.img='{right}/'"
    )
    return split.fail(
        f'{len(names)} of {quantity(len(split.images), "image")} '
        f'{verb(len(names), "are")} files of the training data '
        f'({folder}), with none of their objects there: {some(names)}',
        fix,
    )


def beside(names: Sequence[str], folder: Path) -> Path | None:
    """Another folder of the same parent that has files of these names."""
    for other in islice(sorted(folder.parent.iterdir()), MOST_BESIDE):
        if other != folder and all(
            (other / name).is_file() for name in names[:TRIALS]
        ):
            return other
    return None


def check_copies(split: Split, copies: Mapping[str, bytes]) -> list[Finding]:
    """One content under several names, with other numbers of objects."""
    counts = Counter(split.image_of[split.usable].tolist())
    groups: dict[bytes, dict[str, int]] = defaultdict(dict)
    for at, path in enumerate(paths_of(split)):
        if path in copies and split.images_in[at]:
            name = split.images[at]['file_name']
            groups[copies[path]][name] = counts[at]
    differ = [x for x in groups.values() if len({*x.values()}) > 1]
    if not differ:
        return []
    largest = max(differ, key=len)
    if len(largest) > PAIR:
        files = sum(map(len, differ))
        same = 'one image' if len(differ) == 1 else f'{len(differ)} images'
        return split.warn(
            f'{quantity(files, "image file")} are the bytes of {same} with '
            f'other objects each: {some(list(largest))}',
            'copy the images again: each file is to be the image that its '
            'objects are of',
        )
    least, most = (
        choose(differ[0], key=differ[0].__getitem__) for choose in (min, max)
    )
    return split.warn(
        f'{clause(len(differ), "image", "stand")} under several names with '
        f'other objects: {least} has {differ[0][least]} of the '
        f'{differ[0][most]} of {most}, the rest is background there',
        'keep one of these files in the annotation file, the one with all '
        f'objects, such as {most}',
    )

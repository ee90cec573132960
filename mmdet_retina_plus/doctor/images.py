"""Compare image files with the annotation file and the loader."""

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
"""Maximum number of folder entries to search for missing images."""
DARK = 128
"""Highest value after truncation below which visible detail is lost."""
LABELS = 32
"""8-bit images whose values all lie below this may be label maps."""
PAIR = 2
"""Identical files up to this number may be copies; more are a mistake."""
SAMPLE = 200
"""Number of images to decode unless all are decoded."""
TRIALS = 8
"""Number of files used to test whether a step loads images."""
POINTER = b'version https://git-lfs'
"""First bytes of a Git LFS pointer."""
NO_SIZE = (0, 0)
"""Size of an image whose header cannot be read."""
USUAL = 'LoadImageFromFile'
Looks = Mapping[str, Look]


def paths_of(split: Split) -> list[str]:
    folder = str(split.image_dir)
    return [os.path.join(folder, x['file_name']) for x in split.images]


def loading_step(split: Split) -> Mapping:
    """Return the step that reads the file, {} if there is none."""
    paths = paths_of(split)
    paths = paths[:: max(len(paths) // TRIALS, 1)]
    steps = [step for step in split.pipeline if isinstance(step, Mapping)]
    return next((step for step in steps if gives_image(step, paths)), {})


def gives_image(step: Mapping, paths: Sequence[str]) -> bool:
    """Whether a step loads any of the files."""
    from mmdet.registry import TRANSFORMS

    if kind(step) == USUAL:
        return True
    try:
        load = TRANSFORMS.build(dict(step))
    except Exception:  # Another check reports it.
        return False
    for path in paths:
        with contextlib.suppress(Exception):
            if 'img' in load({'img_path': path}):
                return True
    return False


def build_loader(split: Split) -> Any:
    """Build the loading step; None if that fails, which others report."""
    from mmdet.registry import TRANSFORMS

    try:
        return TRANSFORMS.build(dict(loading_step(split)))
    except Exception:
        return None


def look_at_images(
    splits: Sequence[Split], fast: bool, track: Track = iter
) -> dict[str, Look]:
    """Read all headers, decode all images or a sample; results by path."""
    looks: dict[str, Look] = {}
    for split in splits:
        paths = [path for path in paths_of(split) if path not in looks]
        load = build_loader(split)
        if load is not None and not fast:
            looks |= look_at_all(paths, load, track)
            continue
        headers = look_at_all(paths, None, track)
        if split.pipeline and kind(loading_step(split)) != USUAL:
            # A user's own loader may read what Pillow cannot.
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
    """Find a folder next to or below another that contains a file."""
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
    # All headers can be read: the loader is the cause.
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
        f'cannot be decoded (truncated, empty or not an image), training '
        f'stops there: {some(names)}: {broken[0][1]}',
        'copy them again, or delete them from the annotation file',
    )


def is_pointer(path: str) -> bool:
    """Whether a file is a Git LFS pointer, not the content itself."""
    if not os.path.isfile(path):
        return False
    with open(path, 'rb') as file:
        return file.read(len(POINTER)) == POINTER


def named(names: Sequence[str]) -> str:
    """Subject and verb of a message: 2 images (a.png, b.png) have."""
    listed = f'{quantity(len(names), "image")} ({some(names)})'
    return f'{listed} {verb(len(names), "have")}'


def check_sizes(split: Split, looks: Looks) -> list[Finding]:
    """Compare sizes as loaded with those in the annotation file."""
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
            # Mirroring and a half turn keep the size, and so does any turn of
            # a square.
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
    """Level, message and fix for images whose size does not match."""
    ignore = "color_type='color_ignore_orientation'"
    if reason == 'orientation' and follows:
        return (
            'error',
            f'{images} an EXIF orientation, which the loader applies, '
            f'but boxes refer to the pixels as stored: {example}',
            f"dict(type='LoadImageFromFile', {ignore}) in every pipeline",
        )
    if reason == 'orientation':
        return (
            'error',
            f'{images} an EXIF orientation, which the loader ignores, '
            f'but boxes refer to the rotated image: {example}',
            "dict(type='LoadImageFromFile', color_type='color') in every "
            'pipeline',
        )
    if reason == 'turned':
        return (
            'warning',
            f'{images} an EXIF orientation that does not change the size; '
            'the loader applies it to the image, not to the boxes',
            f"dict(type='LoadImageFromFile', {ignore}) in every pipeline, "
            'unless boxes were drawn on the rotated image',
        )
    if reason == 'exchanged':
        return (
            'error',
            f'{images} width and height exchanged: {example}',
            'exchange "width" and "height" of these images in the '
            'annotation file, and check the boxes',
        )
    return (
        'error',
        f'{images} another size than the annotation file says: {example}',
        'write the size of the file into "width" and "height", and scale '
        'the boxes if they refer to the other size',
    )


def last_value(highest: float) -> int:
    """Upper end of a 16-bit value range, from the upper 8 bits in use."""
    return 2 ** (8 + int(highest).bit_length()) - 1


def check_depth(split: Split, looks: Looks) -> list[Finding]:
    """Report bits that the loader drops and channel counts that differ."""
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
            f'{clause(deep, "image", "have")} more than 8 bits per channel, '
            f'of which the loader keeps the upper 8{dark}',
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
    """Report multi-page files, of which the loader reads the first page."""
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
        'write each page into its own file, with its own entry in '
        '"images"; for slices of scans see docs/medical-images.md',
    )


def may_be_labels(look: Look) -> bool:
    """Whether a decoded 8-bit image is nearly black."""
    return bool(look.shape) and not look.deep and look.highest < LABELS


def check_brightness(split: Split, looks: Looks) -> list[Finding]:
    """Report label maps in place of photographs."""
    # A user's own loader may return any values.
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
    """Report images of a single colour that have objects."""
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
        f'{verb(len(flat), "are")} of a single colour (highest value '
        f'{" or ".join(f"{x:.0f}" for x in shown[:2])}), yet '
        f'{verb(len(flat), "have")} objects: {some(names)}',
        'write these files again, or delete them from the annotation file',
    )


def check_twice(split: Split, looks: Looks) -> list[Finding]:
    """Report files listed under several ids, each with part of the objects."""
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
        f'{name} under {some(first)}: objects of one entry are background '
        'in the other',
        'keep one entry per file, and move the annotations of the others to '
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
    """Report copies within training, and images shared with other sets."""
    # Broken files have no content to compare, and label maps or black images
    # may be equal by chance.
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
    """Find training images in another format: equal boxes, similar pixels.

    Single boxes, such as that of the whole image, may be equal by chance.
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
        'boxes of a training image and look like it, as copies in another '
        'format do: AP is too high',
        'compare such images, and delete the copies from the annotation file '
        'of training or of validation',
    )


def leaked(split: Split, shared: Sequence[int]) -> tuple[str, str]:
    """Message and fix for images that are also in the training set."""
    names = [split.images[at]['file_name'] for at in shared]
    fix = 'delete them from the annotation file of training or of validation'
    if len(names) == len(split.images):
        fix = (
            f'{split.key}.ann_file=… and that of the evaluator: name a file '
            'of other images, for instance move some training images into it'
        )
    return (
        f'{len(names)} of {quantity(len(split.images), "image")} '
        f'{verb(len(names), "belong")} to the training data as well, so AP '
        f'is too high: {some(names)}',
        fix,
    )


def boxes_at(split: Split, places: Sequence[int]) -> dict[int, set]:
    """Boxes of the images at these positions, in whole pixels."""
    found: dict[int, set] = {at: set() for at in places}
    chosen = split.usable & np.isin(split.image_of, list(places))
    rows = split.boxes[chosen].round().tolist()
    for at, box in zip(split.image_of[chosen].tolist(), rows, strict=True):
        found[at].add(tuple(box))
    return found


def check_contradictions(
    split: Split, shared: Mapping[int, tuple[Split, int]]
) -> list[Finding]:
    """Report training files whose objects differ: the wrong folder.

    Args:
        split: Data set for validation or test.
        shared: Position of each image shared with training: the training set
            and the position there.
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
    """Find a sibling folder that has files of these names."""
    for other in islice(sorted(folder.parent.iterdir()), MOST_BESIDE):
        if other != folder and all(
            (other / name).is_file() for name in names[:TRIALS]
        ):
            return other
    return None


def check_copies(split: Split, copies: Mapping[str, bytes]) -> list[Finding]:
    """Report identical files under several names with different objects."""
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
            f'{quantity(files, "image file")} have the bytes of {same} but '
            f'different objects: {some(list(largest))}',
            'copy the images again, so that each file is the image that its '
            'objects belong to',
        )
    least, most = (
        choose(differ[0], key=differ[0].__getitem__) for choose in (min, max)
    )
    return split.warn(
        f'{clause(len(differ), "image", "occur")} under several names with '
        f'different objects: {least} has {differ[0][least]} of the '
        f'{differ[0][most]} of {most}, the rest are background there',
        'keep only the file with all objects in the annotation file, such as '
        f'{most}',
    )

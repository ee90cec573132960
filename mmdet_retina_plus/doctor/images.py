"""Compare image files with the annotation file and the loader."""

import contextlib
import os
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mmdet_retina_plus.common.config_tree import kind
from mmdet_retina_plus.common.exif import MIRRORED, ROTATED
from mmdet_retina_plus.common.text import clause, quantity, some, verb

from .findings import Finding
from .image_files import Look, Looks, Track, follows_orientation, look_at_all
from .missing_images import check_missing
from .split import Split

DARK = 128
"""Highest value after truncation below which visible detail is lost."""
MOST_DARK = 0.5
"""Fraction of nearly black images above which they are no chance."""
LABELS = 32
"""8-bit images whose values all lie below this may be label maps."""
SAMPLE = 200
"""Number of images to decode unless all are decoded."""
TRIALS = 8
"""Number of files that quick tests use."""
POINTER = b'version https://git-lfs'
"""First bytes of a Git LFS pointer."""
NO_SIZE = (0, 0)
"""Size of an image whose header cannot be read."""
USUAL = 'LoadImageFromFile'


def loading_step(split: Split) -> Mapping:
    """Return the step that reads the file, {} if there is none."""
    paths = split.paths
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
        paths = [path for path in split.paths if path not in looks]
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


def check_readable(split: Split, looks: Looks) -> list[Finding]:
    broken = [
        (image['file_name'], looks[path].error)
        for image, path in zip(split.images, split.paths, strict=True)
        if looks[path].error and not looks[path].missing
    ]
    if not broken:
        return []
    names = [name for name, _ in broken]
    pointers = [
        image['file_name']
        for image, path in zip(split.images, split.paths, strict=True)
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
        looks[path].size != NO_SIZE for path in split.paths
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
    for image, path in zip(split.images, split.paths, strict=True):
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
    seen = [looks[path] for path in split.paths]
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
    several = {
        image['file_name']: looks[path].pages
        for image, path in zip(split.images, split.paths, strict=True)
        if looks[path].pages > 1
    }
    if not several:
        return []
    entries = sum(x['file_name'] in several for x in split.images)
    shared = (
        f', and {entries} entries share them' if entries > len(several) else ''
    )
    return split.warn(
        f'{clause(len(several), "file", "have")} up to '
        f'{max(several.values())} pages, of which the loader reads the '
        f'first{shared}: {some([*several])}',
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
    read = [x for x in map(looks.__getitem__, split.paths) if x.shape]
    dark = [x for x in read if may_be_labels(x) and not x.flat]
    if len(dark) <= MOST_DARK * len(read):
        return []
    highest = max(x.highest for x in dark)
    return split.warn(
        f'{len(dark)} of {quantity(len(read), "decoded image")} '
        f'{verb(len(dark), "have")} values of 0 to {highest:.0f} of 255: '
        'label maps, or 12 of 16 bits cut to 8?',
        f'{split.key}.data_prefix=dict(img=…), the folder of the photographs; '
        'else convert these files again with their highest value as 255',
    )


def check_flat(split: Split, looks: Looks) -> list[Finding]:
    """Report images of a single colour that have objects."""
    full = set(split.image_of[split.usable].tolist())
    seen = list(map(looks.__getitem__, split.paths))
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
    ids = defaultdict(list)
    for image, path in zip(split.images, split.paths, strict=True):
        if looks[path].pages > 1:  # `check_pages` reports them.
            continue
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
        'its id; if they are files of one name in several folders, write the '
        'folders into file_name',
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

"""Read image headers and decode images, in several processes."""

import contextlib
import hashlib
import multiprocessing
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mmdet_retina_plus.common.config_tree import kind
from mmdet_retina_plus.common.cores import cores
from mmdet_retina_plus.common.exif import UPRIGHT, orientation

FEW = 500
"""Number of files below which one process is faster."""
CHUNK = 256
END = 4096
"""Trailing bytes that distinguish most files of equal length."""
PRINT = 16
"""Side of a fingerprint, in bits."""
THUMBNAIL = 16
"""Side of the thumbnails that are compared, in pixels."""
SAME = 0.9
"""Correlation above which two thumbnails show the same picture."""
DEEP_MODES = ('I', 'I;16', 'I;16B', 'I;16L', 'F')
BITS_PER_SAMPLE = 258
"""TIFF tag."""
Track = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Look:
    """What is known about an image file.

    Attributes:
        error: Why it cannot be read; '' if it can.
        missing: Whether there is no such file.
        size: Width and height of the pixels as stored.
        orientation: EXIF orientation; 1: as stored.
        format: Format by content, as Pillow names it.
        deep: Whether it has more than 8 bits per channel.
        shape: Height, width and channels as loaded; (): not decoded.
        highest: Highest value as loaded; 0: not decoded.
        bytes: Length of the file.
        flat: Whether all pixels are equal; False also if not decoded.
        pages: Number of images of equal size in the file.
        fingerprint: `difference_hash` of the pixels; '': not decoded.
        tint: Mean of the first channel less that of the third, as loaded;
            0 also if there is no third.
    """

    error: str = ''
    missing: bool = False
    size: tuple[int, int] = (0, 0)
    orientation: int = UPRIGHT
    format: str = ''
    deep: bool = False
    shape: tuple[int, ...] = ()
    highest: float = 0
    bytes: int = 0
    flat: bool = False
    pages: int = 1
    fingerprint: str = ''
    tint: float = 0.0


Looks = Mapping[str, Look]
"""Results by path."""


def follows_orientation(step: Mapping) -> bool:
    """Whether a loading step applies the EXIF orientation."""
    return (
        kind(step) == 'LoadImageFromFile'
        and step.get('color_type', 'color') in ('color', 'grayscale')
        and step.get('imdecode_backend') != 'tifffile'
    )


@contextlib.contextmanager
def quiet_decoders() -> Iterator[None]:
    """Discard what C libraries write to the standard error stream."""
    kept = os.dup(2)
    with open(os.devnull, 'w') as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def is_deep(image: Any) -> bool:
    """Whether an image opened by Pillow has more than 8 bits per channel."""
    if image.mode in DEEP_MODES:
        return True
    # Pillow opens multi-channel images as 8 bits each, whatever is stored.
    if image.format == 'PNG':
        return any(';16B' in str(tile) for tile in image.tile)
    tags = getattr(image, 'tag_v2', {})
    return any(bits > 8 for bits in tags.get(BITS_PER_SAMPLE, ()))


def read_header(path: str, length: int) -> Look:
    from PIL import Image

    with Image.open(path) as image:
        deep = is_deep(image)  # First: reading EXIF may load the pixels.
        return Look(
            size=image.size,
            orientation=orientation(image),
            format=image.format or '',
            deep=deep,
            bytes=length,
            pages=pages_of(image),
        )


def pages_of(image: Any) -> int:
    """Count pages of a TIFF or GIF; 1 for a pyramid, whose sizes differ."""
    if image.format not in ('TIFF', 'GIF'):
        return 1
    size = image.size
    try:
        number = getattr(image, 'n_frames', 1)
        image.seek(min(number - 1, 1))
    except Exception:  # Decoders may raise anything.
        return 1
    return number if image.size == size else 1


def look(path: str, load: Callable[[dict], Any] | None) -> Look:
    """Read the header of an image, and decode it if `load` is given.

    Args:
        path: Image file.
        load: Loading step of a pipeline; None: read the header only.
    """
    from dataclasses import replace

    try:
        status = os.stat(path)
    except (OSError, ValueError):
        status = None
    if status is None or not stat.S_ISREG(status.st_mode):
        return Look(error='is not there', missing=True)
    length = status.st_size
    try:
        seen = read_header(path, length)
    except Exception as error:  # Decoders may raise anything.
        seen = Look(error=f'{error}', bytes=length)
        load = load or any_image
    if load is None:
        return seen
    try:
        image = load({'img_path': path})['img']
        if image is None:
            raise ValueError('it cannot be decoded')
    except Exception as error:
        return replace(seen, error=' '.join(f'{error}'.split())[-200:])
    shape = (*image.shape, 1)[:3]
    # Pillow cannot open some files, such as TIFF of many channels.
    size = seen.size if seen.size[0] else (shape[1], shape[0])
    highest = float(image.max()) if image.size else 0
    return replace(
        seen,
        error='',
        shape=shape,
        size=size,
        highest=highest,
        flat=is_flat(image),
        fingerprint=difference_hash(image),
        tint=tint_of(image),
    )


def is_flat(image: Any) -> bool:
    """Whether all pixels are equal; a subsample settles most images."""
    if not image.size:
        return False
    first = image[0, 0]
    return all(bool((x == first).all()) for x in (image[::16, ::16], image))


def tint_of(image: Any) -> float:
    """Difference of the first and third channel's means, 0 without three."""
    if image.shape[2:] != (3,) or not image.size:
        return 0.0
    sparse = image[::8, ::8].reshape(-1, 3).mean(axis=0)
    return float(sparse[0] - sparse[2])


def difference_hash(image: Any) -> str:
    """Fingerprint: whether each cell of a grid is darker than the next.

    Hardly changes if an image is resized or saved in another format.

    Args:
        image: Shape (height, width) or (height, width, channels).

    Returns:
        64 hexadecimal digits; '' if OpenCV cannot resize the image.
    """
    import cv2

    try:
        # OpenCV resizes up to four channels fast.
        small = cv2.resize(
            image[..., :3] if image.ndim == 3 else image,
            (PRINT + 1, PRINT),
            interpolation=cv2.INTER_AREA,
        )
    except cv2.error:
        return ''
    grey = small.reshape(PRINT, PRINT + 1, -1).mean(2)
    return np.packbits(grey[:, :-1] < grey[:, 1:]).tobytes().hex()


def any_image(results: dict) -> dict:
    """Load an image where no loading step is given."""
    import mmcv

    return {'img': mmcv.imread(results['img_path'], 'unchanged')}


def thumbnail(path: str, side: int) -> np.ndarray:
    """Grey thumbnail of mean 0 and length 1, shape (side, side).

    Zeros if the file is broken or of a single colour.
    """
    import cv2

    try:
        with quiet_decoders():
            image = any_image({'img_path': path})['img']
            small = cv2.resize(
                image, (side, side), interpolation=cv2.INTER_AREA
            )
    except Exception:  # Another check reports broken files.
        return np.zeros((side, side))
    grey = small.reshape(side, side, -1).mean(2)
    grey = grey - grey.mean()
    return grey / (np.linalg.norm(grey) or 1.0)


def correlation(one: np.ndarray, two: np.ndarray) -> float:
    """Cosine of the angle between two thumbnails; 0 if one has no length."""
    length = float(np.linalg.norm(one) * np.linalg.norm(two))
    return float((one * two).sum()) / (length or 1.0)


def show_the_same(first: str, second: str) -> bool:
    """Whether two files show the same picture, in any format and size."""
    one, two = (thumbnail(x, THUMBNAIL) for x in (first, second))
    return correlation(one, two) > SAME


def look_at_many(
    paths: Sequence[str], load: Callable[[dict], Any] | None
) -> list[Look]:
    with quiet_decoders():
        return [look(path, load) for path in paths]


def look_at_all(
    paths: Sequence[str],
    load: Callable[[dict], Any] | None,
    track: Track = iter,
) -> dict[str, Look]:
    """Look at files, with one process per core.

    Args:
        paths: Image files.
        load: Loading step of a pipeline; None: read headers only.
        track: Shows progress over chunks.
    """
    return spread(partial(look_at_many, load=load), paths, track)


def spread(
    task: Callable[[Sequence[str]], list[Any]],
    paths: Iterable[str],
    track: Track = iter,
) -> dict[str, Any]:
    """Run a task on each file, in several processes if there are many."""
    paths = list(dict.fromkeys(paths))
    chunks = [paths[at : at + CHUNK] for at in range(0, len(paths), CHUNK)]
    if len(paths) < FEW:
        answers = [x for chunk in chunks for x in task(chunk)]
        return dict(zip(paths, answers, strict=True))
    # Forking shares the imported modules; no other thread computes here.
    context = multiprocessing.get_context('fork')
    with ProcessPoolExecutor(cores(), context) as pool:
        found = [
            x.result()
            for x in track([pool.submit(task, chunk) for chunk in chunks])
        ]
    answers = [x for chunk in found for x in chunk]
    return dict(zip(paths, answers, strict=True))


def digests(paths: Sequence[str], end: int | None = None) -> list[bytes]:
    """Hash whole files, or only their last `end` bytes."""
    found = []
    for path in paths:
        with open(path, 'rb') as file:
            if end is not None:
                file.seek(-min(end, os.fstat(file.fileno()).st_size), 2)
            found.append(hashlib.blake2b(file.read()).digest())
    return found


def alike(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the files whose key occurs more than once."""
    numbers = Counter(keys.values())
    return {path: key for path, key in keys.items() if numbers[key] > 1}


def copies_among(looks: Mapping[str, Look]) -> dict[str, bytes]:
    """Digests of the files whose content occurs more than once.

    Compares lengths first, then the last bytes, then the whole content.
    """
    keys: dict[str, Any] = alike({
        path: seen.bytes for path, seen in looks.items() if seen.bytes
    })  # fmt: skip
    for end in (END, None):
        found = spread(partial(digests, end=end), keys)
        keys = alike({path: (keys[path], x) for path, x in found.items()})
    return {path: key[-1] for path, key in keys.items()}

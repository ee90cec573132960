"""Find boxes that fit their images only if read otherwise, or drawn boxes.

Such boxes are well-formed, so only pixels tell. A box around an object differs
more from its surroundings than the same box shifted; anywhere else that is
chance. The reference is the same region, so bright, sharp or structured
parts of the images favour no reading of the boxes.

Measured on photographs (136 of pedestrians, 200 of blood cells, raccoons and
driving scenes, 164 of kangaroos) and on generated sets, each with right boxes
and seven wrong readings: right boxes exceed 72 % to 100 % of their shifts,
wrong ones 45 % to 68 %, and none of the right sets is reported. Wrong readings
are found from 20 images of generated shapes, cells or cars on, and from 70 of
large, upright objects; not if single objects nearly fill their images, or if
width and height of nearly square boxes are exchanged.
"""

import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .findings import Finding, any_error
from .image_files import quiet_decoders
from .images import build_loader
from .split import Split

IMAGES, FIRST, FEWEST = 128, 32, 20
"""Images to look at, to look at first, and minimum to judge."""
ALIGNED = 0.7
"""Alignment of the first images that no other reading exceeds clearly."""
SECONDS = 4.0
"""Time limit of a data set; well aligned ones take a fraction of it."""
SOURCES = 3
"""Groups of images to look at one by one, as sources may be wrong alone."""
LONGEST = 256
"""Longest side in pixels to which images are scaled down."""
BOXES = 12
"""Maximum number of boxes per image."""
SMALLEST = 3
"""Shortest side in pixels of a box after scaling."""
SHIFTS = np.array([
    (step * x, step * y)
    for step in (0.25, 0.5)
    for x in (-1, 0, 1)
    for y in (-1, 0, 1)
    if x or y
])  # fmt: skip
"""Shifts of a box in fractions of its width and height."""
SURROUNDINGS = 0.2
"""Width of the frame around a box, as a fraction of its sides."""
INSIDE = 4
"""Minimum number of shifts that stay in the image."""
SURE, GAIN, CLEAR = 5.0, 0.1, 0.6
"""Minimum distance from chance in standard errors, minimum advantage over
the boxes as given, and minimum alignment."""
Boxes = np.ndarray
READINGS: dict[str, tuple[Callable[[Boxes, float, float], Boxes], str]] = {
    'bbox counts y from the bottom': (
        lambda b, w, h: np.stack([b[0], h - b[3], b[2], h - b[1]]),
        'write height - y - h of the image in place of y',
    ),
    'bbox counts x from the right': (
        lambda b, w, h: np.stack([w - b[2], b[1], w - b[0], b[3]]),
        'write width - x - w of the image in place of x',
    ),
    'images are turned by 180 degrees against their boxes': (
        lambda b, w, h: np.stack([w - b[2], h - b[3], w - b[0], h - b[1]]),
        'write [width - x - w, height - y - h, w, h] of the image',
    ),
    'bbox is [center x, center y, width, height]': (
        lambda b, w, h: b - np.tile((b[2:] - b[:2]) / 2, (2, 1)),
        'write "bbox": [x - width / 2, y - height / 2, width, height]',
    ),
    'boxes were drawn on images of half the size': (
        lambda b, w, h: 2 * b,
        'multiply the four values of "bbox" by 2, and "area" by 4',
    ),
    'bbox is [top, left, height, width]': (
        lambda b, w, h: np.stack([b[1], b[0], b[3], b[2]]),
        'write "bbox": [left, top, width, height]',
    ),
    'bbox is [left, top, height, width]': (
        lambda b, w, h: np.stack(
            [b[0], b[1], b[0] + b[3] - b[1], b[1] + b[2] - b[0]]
        ),
        'write "bbox": [left, top, width, height]',
    ),
}
"""Other readings: how to compute the edges (4, N), and the fix."""
ORDER = 'give each image the "file_name" that it had when it was annotated'


def tables(image: np.ndarray) -> np.ndarray:
    """Summed-area tables of colours, edges and their squares.

    Args:
        image: Shape (H, W, C) of uint8.

    Returns:
        Shape (H + 1, W + 1, 2 * features).
    """
    import cv2

    smooth = cv2.GaussianBlur(image, (3, 3), 0)
    edges = [
        np.abs(cv2.Sobel(smooth, cv2.CV_32F, *axis)) / 4
        for axis in ((1, 0), (0, 1))
    ]
    edges = [x if x.ndim == 2 else x.max(axis=2) for x in edges]
    colours = image.astype(np.float32)
    if image.shape[2:] == (3,):
        colours = cv2.cvtColor(image, cv2.COLOR_BGR2LAB).astype(np.float32)
    sums = [
        cv2.integral2(x, sdepth=cv2.CV_64F, sqdepth=cv2.CV_64F)
        for x in (*np.moveaxis(np.atleast_3d(colours), 2, 0), *edges)
    ]
    return np.stack([x[part] for part in (0, 1) for x in sums], axis=2)


def sums_in(table: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, ...]:
    """Sums (N, features) and areas (N, 1) of boxes (N, 4), clipped."""
    height, width = table.shape[0] - 1, table.shape[1] - 1
    limits = np.array([width, height] * 2)
    edges = np.rint(boxes).clip(0, limits).astype(int)
    left, top, right, bottom = edges.T
    total = table[bottom, right] - table[top, right]
    total += table[top, left] - table[bottom, left]
    return total, ((right - left) * (bottom - top))[:, None]


def contrasts(table: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Squared difference of a box and its frame over their variance, (N,)."""
    frame = SURROUNDINGS * (boxes[:, 2:] - boxes[:, :2])
    inner, area = sums_in(table, boxes)
    outer, whole = sums_in(table, boxes + np.hstack([-frame, frame]))
    means, variances = [], []
    for total, number in ((inner, area), (outer - inner, whole - area)):
        mean, square = np.split(total / np.maximum(number, 1), 2, axis=1)
        means.append(mean)
        variances.append(np.maximum(square - mean**2, 0) + 1)
    gap = (means[0] - means[1]) ** 2 / (variances[0] + variances[1])
    return gap.sum(axis=1)


def alignment(table: np.ndarray, boxes: np.ndarray) -> float:
    """Fraction of the shifts at which a box has less contrast.

    Args:
        table: What `tables` returns for an image.
        boxes: Left, top, right, bottom in pixels of the image, (N, 4).

    Returns:
        Mean over boxes with enough shifts inside the image; NaN if none has.
    """
    size = np.array([table.shape[1] - 1, table.shape[0] - 1])
    boxes = np.clip(boxes, 0, np.tile(size, 2))
    extent = boxes[:, 2:] - boxes[:, :2]
    boxes = boxes[(extent >= SMALLEST).all(axis=1)]
    extent = boxes[:, 2:] - boxes[:, :2]
    moved = boxes + np.tile(SHIFTS[:, None] * extent, 2)
    inside = (moved[..., :2] >= -1).all(2) & (moved[..., 2:] < size + 1).all(2)
    own = contrasts(table, boxes)
    other = contrasts(table, moved.reshape(-1, 4)).reshape(inside.shape)
    wins = np.where(own == other, 0.5, own > other) * inside
    number = inside.sum(axis=0)
    enough = number >= INSIDE
    if not enough.any():
        return np.nan
    return float((wins.sum(axis=0) / np.maximum(number, 1))[enough].mean())


def decoded(load: Any, path: str) -> np.ndarray | None:
    """Load an image with 8 bits, scaled down; None if that fails."""
    import cv2

    try:
        image = load({'img_path': path})['img']
        if image.dtype != np.uint8:
            image = image / max(float(image.max()), 1) * 255
        factor = min(LONGEST / max(image.shape[:2]), 1)
        size = [max(round(factor * x), 1) for x in image.shape[1::-1]]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        # Slices of a scan may have any number of channels.
        return image.clip(0, 255).astype(np.uint8)
    except Exception:  # Another check reports files that cannot be read.
        return None


def natural(name: str) -> list:
    """Sort key by which 2.png precedes 10.png."""
    parts = re.split(r'(\d+)', name)
    return [int(x) if x.isdigit() else x for x in parts]


def exchanges(names: Sequence[str]) -> dict[str, np.ndarray]:
    """Ways in which images may have got the boxes of others.

    Args:
        names: File names in the order of the annotation file.

    Returns:
        By message: for each image the position of the one whose boxes it may
        have.
    """
    places = np.arange(len(names))
    known = dict(enumerate(names))
    by_text = np.array(sorted(known, key=lambda at: known[at]))
    by_number = np.array(sorted(known, key=lambda at: natural(known[at])))
    found = {
        'each image has the boxes of the one before it in the list': (
            np.roll(places, -1)
        ),
        'each image has the boxes of the one after it in the list': (
            np.roll(places, 1)
        ),
    }
    message = (
        'files are in the order of {}, and their boxes in that of {} (1, 10, '
        '2 and 1, 2, 10)'
    )
    for words, files, boxes in (
        (('texts', 'numbers'), by_number, by_text),
        (('numbers', 'texts'), by_text, by_number),
    ):
        if 2 * (files != boxes).sum() > len(names):
            order = np.empty_like(places)
            order[files] = boxes
            found[message.format(*words)] = order
    return found


class Placement:
    """Boxes of a data set, as given and as other readings place them.

    Args:
        split: Data set.
        load: Loading step of its pipeline.
    """

    def __init__(self, split: Split, load: Any) -> None:
        self.split = split
        self.load = load
        self.paths = split.paths
        used = np.flatnonzero(split.usable)
        self.used = used[np.argsort(split.image_of[used], kind='stable')]
        self.starts = np.searchsorted(
            split.image_of[self.used], np.arange(len(split.images) + 1)
        )

    @cached_property
    def orders(self) -> dict[str, np.ndarray]:
        return exchanges([x['file_name'] for x in self.split.images])

    def rows(self, at: int) -> np.ndarray:
        """Positions of the annotations whose boxes `boxes` returns."""
        return self.used[self.starts[at] : self.starts[at + 1]][:BOXES]

    def boxes(self, at: int, sides: Sequence[float]) -> np.ndarray:
        """Boxes of the entry of a position, in an image of these sides."""
        rows = self.rows(at)
        fractions = self.split.boxes[rows] / np.tile(self.split.sizes[rows], 2)
        return fractions * np.tile(sides, 2)

    def read(
        self, at: int, image: np.ndarray, names: Sequence[str]
    ) -> dict[str, float]:
        """Alignment of an image's boxes by reading, '' as given."""
        sides = image.shape[1::-1]
        given, table = self.boxes(at, sides), tables(image)
        boxes = {'': given}
        for name in names:
            if name in READINGS:
                boxes[name] = READINGS[name][0](given.T, *sides).T
            elif name in self.orders:
                boxes[name] = self.boxes(self.orders[name][at], sides)
        return {name: alignment(table, x) for name, x in boxes.items()}

    def readings(self, places: Sequence[int]) -> dict[str, list[float]]:
        """Alignment of images by reading, in the time that there is.

        Stops early if the first images are aligned as given, or if no other
        reading seems better.
        """
        end = time.monotonic() + SECONDS
        first = {
            at: decoded(self.load, self.paths[at]) for at in places[:FIRST]
        }
        images = {at: x for at, x in first.items() if x is not None}
        given = [self.read(at, x, ())[''] for at, x in images.items()]
        known = np.array(given)[~np.isnan(given)]
        if len(known) < FIRST / 4 or known.mean() >= ALIGNED:
            return {}
        names = [*READINGS, *self.orders]
        rows = [self.read(at, x, names) for at, x in images.items()]
        names = [x for x in names if gains_of(rows, x).mean() >= GAIN / 2]
        for at in places[FIRST:] if names else ():
            image = decoded(self.load, self.paths[at])
            if time.monotonic() > end:
                break
            if image is not None:
                rows.append(self.read(at, image, names))
        return {name: [x[name] for x in rows] for name in ('', *names)}


def gains_of(rows: Sequence[Mapping[str, float]], name: str) -> np.ndarray:
    """Advantages of a reading over the boxes as given, where both are known.

    A single 0 if there is none.
    """
    gains = np.array([x[name] - x[''] for x in rows])
    gains = gains[~np.isnan(gains)]
    return gains if len(gains) else np.zeros(1)


def errors_from(values: np.ndarray, chance: float) -> float:
    """Distance of a mean from chance, in standard errors."""
    error = values.std() / len(values) ** 0.5
    return float((values.mean() - chance) / max(error, 1e-9))


def best_reading(found: Mapping[str, Sequence[float]]) -> str:
    """Name of a reading that fits clearly better, '' if none does."""
    given = np.array(found.get('', ()))
    best, most = '', GAIN
    for name, listed in found.items():
        values = np.array(listed)
        known = ~np.isnan(values) & ~np.isnan(given)
        if not name or known.sum() < FEWEST:
            continue
        values, gains = values[known], (values - given)[known]
        if (
            gains.mean() >= most
            and values.mean() >= CLEAR
            and errors_from(values, 0.5) >= SURE
            and errors_from(gains, 0.0) >= SURE
        ):
            best, most = name, gains.mean()
    return best


def sources_of(places: Sequence[int], paths: Sequence[str]) -> list[list[int]]:
    """Largest groups of images whose paths differ in numbers only."""
    found = defaultdict(list)
    for at in places:
        found[re.sub(r'\d+', '', paths[at])].append(at)
    groups = sorted((x for x in found.values() if len(x) >= FEWEST), key=len)
    return groups[-SOURCES:] if len(found) > 1 else []


def check_placement(
    split: Split, known: Sequence[Finding] = ()
) -> list[Finding]:
    """Report boxes that fit their images only if they are read otherwise.

    Args:
        split: Data set.
        known: Findings so far; errors of the data set explain wrong boxes.
    """
    full = np.unique(split.image_of[split.usable])
    if len(full) < FEWEST or any_error(
        [x for x in known if x.subject == split.subject]
    ):
        return []
    load = build_loader(split)
    if load is None:
        return []
    placed, name, whose = Placement(split, load), '', ''
    places = full.tolist()
    for group in (places, *sources_of(places, split.paths)):
        chosen = random.Random(0).sample(group, min(len(group), IMAGES))
        with quiet_decoders():
            name = best_reading(placed.readings(chosen))
        if name:
            break
    if not name:
        return []
    if len(group) < len(places):
        files = [split.images[at]['file_name'] for at in group]
        whose = f'in {len(group)} images such as {files[0]}, '
    fix = READINGS[name][1] if name in READINGS else ORDER
    return split.warn(
        f'{whose}{name}, by the pixels: then boxes differ from what is around '
        'them, as given they do not',
        f'{fix}, if pictures of --show confirm it',
    )

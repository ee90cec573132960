"""Find images into which their boxes are drawn."""

import random
import time
from collections.abc import Sequence

import numpy as np

from mmdet_retina_plus.common.text import quantity

from .findings import Finding
from .image_files import quiet_decoders
from .images import build_loader
from .placement import Placement
from .split import Split

IMAGES = 32
"""Maximum number of images to look at."""
COLOURED, NEARLY, CLOSED = 60, 50, 0.8
"""Minimum range of the channels of a line's colour, maximum difference of its
pixels from it, and fraction of a box's edges that it covers."""
THICK = 7
"""Pixels beside the edges of a box that a drawn line does not reach."""
SEVERAL = 8
"""Minimum number of images and of boxes to judge lines by."""
SECONDS = 2.0
"""Time after which no further images are read, if there are enough boxes."""
SIDE = 8
"""Side in pixels at which the insides of boxes are compared."""
STEADY, DIFFERENT, NEARLY_ALL = 10, 12, 0.9
"""Maximum deviation of the colours of lines, minimum deviation of what they
surround, and fraction of boxes with lines if only one class has some."""


def ring(image: np.ndarray, box: Sequence[int], inset: int) -> np.ndarray:
    """Pixels of an image along the edges of a box, (N, 3), clipped.

    Args:
        image: Shape (H, W, 3).
        box: Left, top, right, bottom in pixels.
        inset: Distance in pixels by which the edges move inwards.
    """
    height, width = image.shape[:2]
    left, top = (max(x + inset, 0) for x in box[:2])
    right = min(box[2] - inset, width - 1)
    bottom = min(box[3] - inset, height - 1)
    across, down = slice(left, right + 1), slice(top, bottom + 1)
    lines = image[top, across], image[bottom, across]
    return np.concatenate([*lines, image[down, left], image[down, right]])


def line_along(image: np.ndarray, box: Sequence[int]) -> np.ndarray | None:
    """Colour of a line that follows the edges of a box, (3,); None if none."""
    for inset in (0, -1, 1, -2, 2):
        line = ring(image, box, inset).astype(float)
        colour = np.median(line, axis=0)
        if np.ptp(colour) < COLOURED:
            continue

        def part(pixels: np.ndarray, colour: np.ndarray = colour) -> float:
            return float((np.abs(pixels - colour).max(1) < NEARLY).mean())

        # The inside of an object of one colour has it, too.
        if part(line) >= CLOSED:
            inner, outer = (ring(image, box, x) for x in (THICK, -THICK))
            return (
                colour if max(part(inner), part(outer)) < 1 - CLOSED else None
            )
    return None


def inside(image: np.ndarray, box: Sequence[int]) -> np.ndarray:
    """What a box shows within its edges, (SIDE, SIDE, 3)."""
    import cv2

    left, top = (max(x, 0) + THICK for x in box[:2])
    right, bottom = (x - THICK for x in box[2:])
    pixels = image[top:bottom, left:right]
    return cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def spread(values: Sequence[np.ndarray], labels: np.ndarray) -> float:
    """Median deviation of arrays from the median of their class."""
    array = np.reshape(values, (len(values), -1)).astype(float)
    for label in np.unique(labels):
        own = labels == label
        array[own] -= np.median(array[own], axis=0)
    return float(np.median(np.abs(array).mean(axis=1)))


def check_drawn_boxes(split: Split) -> list[Finding]:
    """Report images into which their boxes are drawn.

    Drawn lines have one colour, whatever they surround. Frames that belong to
    the objects change with the light, or surround the same things.
    """
    full = np.unique(split.image_of[split.usable])
    load = build_loader(split)
    if len(full) < SEVERAL or load is None:
        return []
    number = min(len(full), IMAGES)
    end = time.monotonic() + SECONDS
    placed = Placement(split, load)
    looked_at = 0
    colours, insides, labels = [], [], []
    for at in random.Random(0).sample(full.tolist(), number):
        if looked_at >= SEVERAL and time.monotonic() > end:
            break
        try:
            with quiet_decoders():
                image = load({'img_path': split.paths[at]})['img']
        except Exception:  # Another check reports files that cannot be read.
            continue
        if image.shape[2:] != (3,) or image.dtype != np.uint8:
            continue
        boxes = np.rint(placed.boxes(at, image.shape[1::-1])).astype(int)
        for box, row in zip(boxes.tolist(), placed.rows(at), strict=True):
            if (
                min(box[2] - box[0], box[3] - box[1]) < 4 * THICK
                or box[0] >= image.shape[1] - 3 * THICK
                or box[1] >= image.shape[0] - 3 * THICK
                or min(box[2:]) <= 4 * THICK
            ):
                continue
            looked_at += 1
            colour = line_along(image, box)
            if colour is not None:
                colours.append(colour)
                insides.append(inside(image, box))
                labels.append(split.label_of[row])
    if looked_at < SEVERAL or 2 * len(colours) <= looked_at:
        return []
    classes = np.array(labels)
    alone = len({*labels}) == 1 and len(colours) < NEARLY_ALL * looked_at
    if (
        alone
        or spread(colours, classes) > STEADY
        or spread(insides, classes) < DIFFERENT
    ):
        return []
    return split.warn(
        f'a line of one colour follows the edges of {len(colours)} of '
        f'{quantity(looked_at, "box")} that were looked at: if the boxes are '
        'drawn into the images, the detector learns the lines; frames of the '
        'objects themselves are fine',
        f'look at images in {split.image_dir}; if boxes are drawn there, set '
        f'{split.key}.data_prefix.img to the original images',
    )

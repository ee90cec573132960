"""Find images into which their boxes are drawn."""

import random
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


def has_line(image: np.ndarray, box: Sequence[int]) -> bool:
    """Whether a line of one bright colour follows the edges of a box."""
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
            return max(part(inner), part(outer)) < 1 - CLOSED
    return False


def check_drawn_boxes(split: Split) -> list[Finding]:
    """Report images into which their boxes are drawn."""
    full = np.unique(split.image_of[split.usable])
    load = build_loader(split)
    if len(full) < SEVERAL or load is None:
        return []
    number = min(len(full), IMAGES)
    lines = []
    placed = Placement(split, load)
    for at in random.Random(0).sample(full.tolist(), number):
        try:
            with quiet_decoders():
                image = load({'img_path': split.paths[at]})['img']
        except Exception:  # Another check reports files that cannot be read.
            continue
        if image.shape[2:] != (3,) or image.dtype != np.uint8:
            continue
        boxes = np.rint(placed.boxes(at, image.shape[1::-1])).astype(int)
        lines += [
            has_line(image, box)
            for box in boxes.tolist()
            if min(box[2] - box[0], box[3] - box[1]) >= 4 * THICK
            and box[0] < image.shape[1] - THICK
            and box[1] < image.shape[0] - THICK
            and min(box[2:]) > 4 * THICK
        ]
    if len(lines) < SEVERAL or 2 * sum(lines) <= len(lines):
        return []
    return split.warn(
        f'a line of one colour follows the edges of {sum(lines)} of '
        f'{quantity(len(lines), "box")} that were looked at: boxes are drawn '
        'into the images, and the detector learns to find the lines',
        f'{split.key}.data_prefix.img=… the folder of the images without '
        'annotations',
    )

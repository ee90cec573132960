"""Coloured shapes on a noisy background, with exact instance masks."""

import colorsys
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from .coco_writer import Progress, quiet, write_set
from .presets import COLOUR_WHEEL, PRESETS, Preset, choose

DISTRACTOR = -1
MIN_VISIBLE = 0.3
"""Minimum visible fraction of a shape; below it, the shape is moved."""
ATTEMPTS = 20


def regular_polygon(corners: int, inner: float = 1.0) -> np.ndarray:
    """Compute corners on the unit circle, shape (corners, 2).

    With `inner` below 1 every other corner lies on a circle of that radius,
    which gives a star.
    """
    angles = 2 * np.pi * np.arange(corners) / corners
    radii = np.where(np.arange(corners) % 2, inner, 1.0)
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


OUTLINES = {
    'disc': regular_polygon(32),
    'ellipse': regular_polygon(32) * (1.0, 0.55),
    'square': regular_polygon(4),
    'diamond': regular_polygon(4) * (1.0, 0.45),
    'triangle': regular_polygon(3),
    'star': regular_polygon(10, inner=0.45),
}


def place_shape(rng: np.random.Generator, side: int, size: int) -> np.ndarray:
    """Draw a random shape at a random location, a bool mask (size, size).

    Its box lies inside the image, and its longer side is exactly `side`.
    """
    outline = OUTLINES[rng.choice(list(OUTLINES))]
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    corners = outline @ np.array([[cos, sin], [-sin, cos]])
    corners -= corners.min(axis=0)
    # fillPoly also fills the outline, so n pixels are n - 1 steps.
    corners = np.rint(corners / corners.max() * (side - 1)).astype(np.int32)
    corners += rng.integers(size - corners.max(axis=0), dtype=np.int32)
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [corners], 1)
    return mask.astype(bool)


def noise(
    rng: np.random.Generator, size: int, grains: tuple[int, ...]
) -> np.ndarray:
    """Draw smooth noise in [-1, 1], (size, size), one layer per grain."""
    field = np.zeros((size, size), np.float32)
    for grain in grains:
        cells = max(size // grain, 2)
        layer = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
        field += cv2.resize(layer, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(field / len(grains) ** 0.5, -1, 1)


def paint(tone: np.ndarray, shade: np.ndarray) -> np.ndarray:
    """Convert a tone under a shade in [-1, 1] (...) to RGB (..., 3).

    A tone is hue in degrees, saturation and value in [0, 1].
    """
    hue, saturation, value = tone
    rgb = np.array(colorsys.hsv_to_rgb(hue % 360 / 360, saturation, value))
    return np.clip(255 * rgb * (1 + shade[..., None]), 0, 255).astype(np.uint8)


def draw_image(
    rng: np.random.Generator, preset: Preset
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw an image and its objects, from front to back.

    Drawing from the front gives the visible pixels of a shape when it is
    placed, so that a mostly hidden one can move. Every labelled shape is
    visible, and every shape in the colour of a class has a label.

    Returns:
        RGB image (size, size, 3) uint8, visible masks (N, size, size) bool,
        which are disjoint, and labels (N,) int64. N may be 0.
    """
    size = preset.size
    ground = noise(rng, size, preset.grains)
    tone = rng.uniform((0, 0, 0.3), (360, preset.tint, 0.7))
    image = paint(tone, 0.3 * ground)
    queue = [DISTRACTOR] * int(rng.integers(preset.distractors + 1))
    if rng.random() >= preset.empty:
        count = rng.integers(*preset.objects, endpoint=True)
        queue += rng.integers(len(preset.classes), size=count).tolist()
    covered = np.zeros((size, size), bool)
    masks, labels = [], []
    for label in rng.permutation(np.array(queue, np.int64)):
        low, high = np.log(preset.sides)
        side = round(np.exp(rng.uniform(low, high)))
        for _ in range(ATTEMPTS):
            shape = place_shape(rng, side, size)
            visible = shape & ~covered
            if visible.sum() >= MIN_VISIBLE * shape.sum():
                break
        else:
            continue
        covered |= shape
        if label == DISTRACTOR:
            tone = rng.uniform((0, 0, 0.15), (360, 0.1, 1))
        else:
            hue = COLOUR_WHEEL[preset.classes[label]]
            tone = rng.uniform((hue - 7, 0.75, 0.65), (hue + 7, 1, 1))
            masks.append(visible)
            labels.append(label)
        shade = 0.25 * noise(rng, size, (3, 32))
        image[visible] = paint(tone, shade[visible])
    return (
        image,
        np.array(masks, bool).reshape(-1, size, size),
        np.array(labels, np.int64),
    )


def make_shapes(
    out: str | Path,
    num: int = 300,
    num_val: int | None = None,
    size: int | None = None,
    seed: int = 0,
    preset: str = 'easy',
    progress: Progress = quiet,
) -> None:
    """Write `images/`, `instances_train.json` and `instances_val.json`.

    The same arguments give the same bytes. An image depends on the seed, its
    split and its number only, so a larger set begins with the smaller one.

    Args:
        out: A folder that does not exist or is empty. It is created when the
            set is complete, so an interrupted run leaves none.
        num: Number of training images.
        num_val: Number of validation images, a quarter of `num` by default.
        size: Height and width in pixels, the preset's by default.
        seed: Seed of the whole set, at least 0.
        preset: A name in `PRESETS`.
        progress: Wraps the image numbers of a split, given its name.

    Raises:
        FileExistsError: `out` is a file or a folder that is not empty.
        ValueError: Unknown preset, no images, a negative seed, or images
            smaller than the preset's largest object.
    """
    style = choose(PRESETS, 'shapes', preset, size)
    write_set(
        out,
        draw=partial(draw_image, preset=style),
        style=style,
        counts=(num, max(num // 4, 1) if num_val is None else num_val),
        seed=seed,
        description='Shapes generated by mmdet_retina_plus',
        progress=progress,
    )

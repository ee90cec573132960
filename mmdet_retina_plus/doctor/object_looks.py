"""Colours and shapes of the objects of a data set, from a sample of images."""

import random
import time
from typing import NamedTuple

import numpy as np

from .image_files import quiet_decoders
from .images import build_loader
from .placement import decoded
from .split import Split

IMAGES, SECONDS = 48, 3.0
"""Maximum number of images to look at, and time limit."""


class ObjectLooks(NamedTuple):
    """Looks of objects.

    Attributes:
        names: Names of their classes.
        colours: Means of the inner half of their boxes, (N, 3), as loaded.
        shapes: Logarithms of width and height as fractions of the image's
            longer side, (N, 2).
    """

    names: np.ndarray
    colours: np.ndarray
    shapes: np.ndarray


def object_looks(split: Split) -> ObjectLooks:
    """Look at the objects of a sample of images."""
    load, paths = build_loader(split), split.paths
    known = split.usable & (split.label_of < len(split.classes))
    full = np.unique(split.image_of[known]).tolist()
    names, colours, shapes = [], [], []
    end = time.monotonic() + SECONDS
    for at in random.Random(0).sample(full, min(IMAGES, len(full))):
        with quiet_decoders():
            image = decoded(load, paths[at])
        if time.monotonic() > end:
            break
        if image is None or image.ndim != 3 or image.shape[2] != 3:
            continue
        rows = np.flatnonzero(known & (split.image_of == at))
        factors = np.array(image.shape[1::-1]) / split.sizes[rows]
        boxes = split.boxes[rows] * np.tile(factors, 2)
        sides = (boxes[:, 2:] - boxes[:, :2]).clip(1)
        # The inner half of a box is mostly its object.
        boxes += np.hstack([sides, -sides]) / 4
        corners = boxes.round().astype(int).clip(0)
        for row, side, box in zip(rows, sides, corners, strict=True):
            left, top, right, bottom = box.tolist()
            inside = image[top:bottom, left:right]
            if inside.size:
                names.append(split.classes[split.label_of[row]])
                colours.append(inside.mean(axis=(0, 1)))
                shapes.append(np.log(side / max(image.shape[:2])))
    return ObjectLooks(
        np.array(names, dtype=object),
        np.array(colours).reshape(-1, 3),
        np.array(shapes).reshape(-1, 2),
    )

"""Images to detect in, and COCO files that list them."""

import json
from pathlib import Path

import cv2
import numpy as np

from tests.helpers.detector_files import CLASSES


def write_image(path: Path, *boxes, size=(90, 120), grey=255) -> str:
    """A black image of a height and width with bright boxes."""
    image = np.zeros((*size, 3), np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = grey
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return str(path)


def noise(path: Path, seed: int) -> str:
    image = np.random.default_rng(seed).integers(0, 256, (90, 120, 3))
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), image.astype(np.uint8))
    return str(path)


def annotations(path: Path, *images, names=CLASSES) -> Path:
    """A COCO file of images and categories 10, 20, ..."""
    coco = dict(
        images=[
            dict(id=number, file_name=name, width=120, height=90)
            for number, name in images
        ],
        categories=[
            dict(id=10 * i, name=name) for i, name in enumerate(names, 1)
        ],
        annotations=[],
    )
    path.write_text(json.dumps(coco))
    return path

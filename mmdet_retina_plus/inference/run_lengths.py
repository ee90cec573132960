"""Encode masks of windows as run lengths of the whole image."""

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mmdet_retina_plus.common.run_lengths import compressed


def encode_window(
    mask: np.ndarray, corner: tuple[int, int], image_shape: tuple[int, int]
) -> dict[str, Any] | None:
    """Encode a mask in a window of an image as run lengths of the image.

    The full mask is never built: for 20,000 x 20,000 pixels it would take
    400 MB.

    Args:
        mask: Bool, shape (h, w).
        corner: x and y of the window.
        image_shape: Height and width of the image.

    Returns:
        Compressed run lengths with ``counts`` as text; None for an empty mask.
    """
    height, width = image_shape
    # Runs start and end where a column, padded with 0, changes.
    columns = np.pad(mask.T, ((0, 0), (1, 1))).astype(np.int8)
    x, y = np.nonzero(np.diff(columns, axis=1))
    if not len(x):
        return None
    places = (x + corner[0]) * height + y + corner[1]
    # A run that reaches the last row may continue in the next column.
    starts, ends = places[::2], places[1::2]
    apart = starts[1:] != ends[:-1]
    starts = starts[np.r_[True, apart]]
    ends = ends[np.r_[apart, True]]
    bounds = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(np.r_[0, bounds])
    if bounds[-1] < height * width:  # Like pycocotools, no run of length 0.
        counts = np.r_[counts, height * width - bounds[-1]]
    return as_text(counts.tolist(), height, width)


def empty(image_shape: tuple[int, int]) -> dict[str, Any]:
    """Run lengths of an empty mask."""
    height, width = image_shape
    return as_text([height * width], height, width)


def as_text(counts: list[int], height: int, width: int) -> dict[str, Any]:
    rle = compressed(dict(size=[height, width], counts=counts), height, width)
    return dict(size=rle['size'], counts=rle['counts'].decode())


def decode(rle: dict[str, Any]) -> np.ndarray:
    """Decode run lengths to a bool mask of shape (H, W)."""
    return coco_mask.decode(rle).astype(bool)

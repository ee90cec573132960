"""Masks of windows as run lengths of their image, in COCO's format."""

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mmdet_retina_plus.common.run_lengths import compressed


def encode_window(
    mask: np.ndarray, corner: tuple[int, int], image_shape: tuple[int, int]
) -> dict[str, Any] | None:
    """Run lengths of a mask that lies in a window of an image.

    The image's own mask is never made: of 20,000 pixels square it would take
    400 MB.

    Args:
        mask: Bool, shape (h, w).
        corner: x and y of the window.
        image_shape: Height and width.

    Returns:
        Compressed, with ``counts`` as text; None for a mask without a pixel.
    """
    height, width = image_shape
    # A run begins and ends where a column, with 0 above and below, changes.
    columns = np.pad(mask.T, ((0, 0), (1, 1))).astype(np.int8)
    x, y = np.nonzero(np.diff(columns, axis=1))
    if not len(x):
        return None
    places = (x + corner[0]) * height + y + corner[1]
    # A run down to the last row goes on in the next column's first.
    starts, ends = places[::2], places[1::2]
    apart = starts[1:] != ends[:-1]
    starts = starts[np.r_[True, apart]]
    ends = ends[np.r_[apart, True]]
    bounds = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(np.r_[0, bounds])
    if bounds[-1] < height * width:  # No run of length 0, as pycocotools.
        counts = np.r_[counts, height * width - bounds[-1]]
    return as_text(counts.tolist(), height, width)


def empty(image_shape: tuple[int, int]) -> dict[str, Any]:
    """Run lengths of a mask without a pixel."""
    height, width = image_shape
    return as_text([height * width], height, width)


def as_text(counts: list[int], height: int, width: int) -> dict[str, Any]:
    rle = compressed(dict(size=[height, width], counts=counts), height, width)
    return dict(size=rle['size'], counts=rle['counts'].decode())


def decode(rle: dict[str, Any]) -> np.ndarray:
    """Mask of run lengths, bool of shape (H, W)."""
    return coco_mask.decode(rle).astype(bool)

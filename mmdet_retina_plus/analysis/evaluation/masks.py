"""Masks of COCO files, checked such that pycocotools can compare them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmdet_retina_plus.common.run_lengths import compressed


class MaskError(ValueError):
    """A segmentation that cannot be read.

    Attributes:
        index: Which of them.
    """

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


def run_lengths(
    segmentations: Sequence[Any], height: int, width: int
) -> list[dict[str, Any]]:
    """Segmentations of an image as compressed masks.

    Args:
        segmentations: Each polygons, or run lengths, compressed or not.
        height: Height of the image.
        width: Width of the image.

    Raises:
        MaskError: One is of another size, or not a segmentation.
    """
    masks = []
    for index, segmentation in enumerate(segmentations):
        try:
            masks.append(compressed(segmentation, height, width))
        except Exception as error:  # pycocotools raises bare Exceptions.
            raise MaskError(
                index, f'has no valid segmentation: {error!r}'
            ) from error
        if list(masks[-1]['size']) != [height, width]:
            raise MaskError(
                index,
                f'has a mask of size {masks[-1]["size"]}, but its image '
                f'[height, width] is {[height, width]}',
            )
    # pycocotools would compare masks forever that end early.
    totals = pixels_in([mask['counts'] for mask in masks])
    for index in np.flatnonzero(totals != height * width).tolist():
        raise MaskError(
            index,
            f'has a mask that runs over {totals[index]} pixels, but its image '
            f'has {height * width}: it is cut off or broken',
        )
    return masks


def pixels_in(masks: Sequence[bytes]) -> NDArray[np.int64]:
    """Number of pixels that each compressed mask runs over, -1 if unclear.

    A run is written in groups of five bits, the lowest first, and from the
    fourth run on as the difference from the one before the last.
    """
    totals = np.full(len(masks), -1)
    sizes = np.array([len(mask) for mask in masks], dtype=int)
    codes = np.frombuffer(b''.join(masks), np.uint8).astype(np.int64) - 48
    last = sizes.cumsum() - 1
    whole = sizes > 0
    whole[whole] = codes[last[whole]] & 32 == 0
    if not whole.all():
        rest = [mask for mask, kept in zip(masks, whole, strict=True) if kept]
        totals[whole] = pixels_in(rest)
        return totals
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends + 1])[:-1]
    lengths = ends - starts + 1
    places = np.arange(len(codes)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((codes & 31) << 5 * places, starts)
    runs -= (codes[ends] & 16 > 0) * (1 << 5 * lengths)
    # Each difference counts once in its run and in every second one behind.
    firsts = np.searchsorted(ends, last - sizes, side='right')
    counts = np.diff(firsts, append=len(runs))
    index = np.arange(len(runs)) - np.repeat(firsts, counts)
    times = (np.repeat(counts, counts) - 1 - index) // 2 + 1
    return np.add.reduceat(runs * np.where(index, times, 1), firsts)

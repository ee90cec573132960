"""Masks in COCO's run-length encoding."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def compressed(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """Compress a segmentation to run lengths.

    Args:
        segmentation: Polygons, or run lengths, compressed or not.
        height: Height of the image, for polygons.
        width: Width of the image, for polygons.
    """
    # The doctor imports this module also where pycocotools is missing.
    from pycocotools import mask as mask_util

    if not isinstance(segmentation, Mapping):
        parts = mask_util.frPyObjects(segmentation, height, width)
        return mask_util.merge(parts)
    counts, size = segmentation['counts'], segmentation['size']
    if isinstance(counts, list):
        return mask_util.frPyObjects(segmentation, *size)
    if isinstance(counts, str):
        counts = counts.encode()
    return dict(size=size, counts=bytes(counts))


def cut_off(masks: Sequence[Any]) -> list[int]:
    """Find run lengths that end before or after the end of their image.

    With such masks pycocotools loops forever, or reads or writes out of
    bounds.

    Args:
        masks: Polygons, which always pass, or run lengths.

    Returns:
        Their indices.
    """
    places = [at for at, x in enumerate(masks) if isinstance(x, Mapping)]
    counts = [b''] * len(places)
    for number, at in enumerate(places):
        given = masks[at]['counts']
        if isinstance(given, list):
            # pycocotools cannot compress these either: they stay empty.
            if (
                sum(given) != np.prod(masks[at]['size'])
                or min(given, default=-1) < 0
            ):
                continue
            counts[number] = compressed(masks[at], 0, 0)['counts']
        else:
            text = given if isinstance(given, str) else bytes(given).decode()
            counts[number] = text.encode()
    totals = pixels_in(counts) if counts else ()
    return [
        at
        for at, total in zip(places, totals, strict=True)
        if total != np.prod(masks[at]['size'])
    ]


def pixels_in(masks: Sequence[bytes]) -> NDArray[np.int64]:
    """Count the pixels covered by the runs of each compressed mask.

    A run is stored in groups of five bits, the lowest first. From the fourth
    on, runs are stored as the difference to the run two before.

    Returns:
        Shape (len(masks),), -1 where a mask is empty or truncated.
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
    # Each difference counts in its run and in every second run after it.
    firsts = np.searchsorted(ends, last - sizes, side='right')
    counts = np.diff(firsts, append=len(runs))
    index = np.arange(len(runs)) - np.repeat(firsts, counts)
    times = (np.repeat(counts, counts) - 1 - index) // 2 + 1
    return np.add.reduceat(runs * np.where(index, times, 1), firsts)

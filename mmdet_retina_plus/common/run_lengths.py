"""Masks in COCO's formats as compressed run lengths."""

from collections.abc import Mapping
from typing import Any


def compressed(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """A segmentation as a compressed mask, of whatever size.

    Args:
        segmentation: Polygons, or run lengths, compressed or not.
        height: Height of the image, for polygons.
        width: Width of the image, for polygons.
    """
    # Doctor imports this where mmdet, which brings it, may be missing.
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

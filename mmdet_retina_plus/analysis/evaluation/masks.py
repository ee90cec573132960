"""Masks of COCO files, checked so that pycocotools can compare them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmdet_retina_plus.common.run_lengths import compressed, pixels_in


class MaskError(ValueError):
    """A segmentation that cannot be read.

    Attributes:
        index: Index of the segmentation.
    """

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


def run_lengths(
    segmentations: Sequence[Any], height: int, width: int
) -> list[dict[str, Any]]:
    """Compress the segmentations of an image.

    Args:
        segmentations: Polygons, or run lengths, compressed or not.
        height: Height of the image.
        width: Width of the image.

    Raises:
        MaskError: A segmentation is invalid, or has not the image's size.
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
    # With truncated masks, pycocotools would loop forever.
    totals = pixels_in([mask['counts'] for mask in masks])
    for index in np.flatnonzero(totals != height * width).tolist():
        raise MaskError(
            index,
            f'has a mask that runs over {totals[index]} pixels, but its image '
            f'has {height * width}: it is truncated or broken',
        )
    return masks

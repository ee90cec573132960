"""Box arithmetic on tensors with the coordinates as first dimension.

Coordinates of shape (5, ...) are x1, y1, x2, y2 in pixels and the area. Each
row is contiguous, and an added dimension broadcasts two sets of boxes.
"""

import torch
from torch import Tensor

# Distance of priors in ignore regions, as in mmdet: above any real distance.
FAR = 1e8
# Largest order, such as an index, that a packed key holds beside a float32.
LAST = 2**32 - 1
# As in mmdet's bbox_overlaps.
MIN_UNION = 1e-6
# Minimum distance in pixels from a positive prior's centre to the border of
# its ground truth in ATSS.
MARGIN = 0.01


def coordinates(boxes: Tensor, pixel_offset: float = 0) -> Tensor:
    """Boxes (N, 4) as coordinates (5, N).

    Args:
        boxes: x1, y1, x2, y2. Further columns are ignored.
        pixel_offset: Added to x2 and y2, 1 where they are the last pixel of
            the box.
    """
    x1, y1, x2, y2 = boxes[:, :4].unbind(dim=1)
    if pixel_offset:
        x2, y2 = x2 + pixel_offset, y2 + pixel_offset
    return torch.stack([x1, y1, x2, y2, (x2 - x1) * (y2 - y1)])


def centres_of(boxes: Tensor) -> Tensor:
    """Centres (2, N) of coordinates (4 or 5, N)."""
    return (boxes[:2] + boxes[2:4]) / 2


def intersection(first: Tensor, second: Tensor) -> Tensor:
    """Common area of two broadcastable coordinates (5, ...)."""
    # In place, one axis after the other: at most three tiles are in memory.
    width = torch.minimum(first[2], second[2])
    width.sub_(torch.maximum(first[0], second[0])).clamp_(min=0)
    height = torch.minimum(first[3], second[3])
    height.sub_(torch.maximum(first[1], second[1])).clamp_(min=0)
    return width.mul_(height)


def iou(first: Tensor, second: Tensor, min_union: float = MIN_UNION) -> Tensor:
    """Intersection over union of two broadcastable coordinates (5, ...).

    The order of operations is that of mmdet's bbox_overlaps, for bit-identical
    results. A box of area 0 has an IoU of 0 with any box, also with itself.

    Args:
        first: Coordinates.
        second: Coordinates.
        min_union: Minimum divisor, above 0.
    """
    overlap = intersection(first, second)
    union = torch.add(first[4], second[4]).sub_(overlap)
    return overlap.div_(union.clamp_(min=min_union))


def shape_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU of concentric boxes, from broadcastable sizes (2, ...)."""
    shared = torch.minimum(first, second).prod(dim=0)
    return shared / (first.prod(dim=0) + second.prod(dim=0) - shared)


def share_of_first(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over the area of ``first``, otherwise like ``iou``."""
    area = first[4].clamp(min=MIN_UNION)
    return intersection(first, second).div_(area)


def share_of_second(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over the area of ``second``, otherwise like ``iou``."""
    return share_of_first(second, first)

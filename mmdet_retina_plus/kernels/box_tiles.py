"""Box arithmetic in Triton, shared by all matchers.

The order of operations is that of mmdet's ``bbox_overlaps``. Kernels are
launched with ``EXACT``, without fused multiply-adds, and divide with correct
rounding, for bit-identical results.
"""

import triton
import triton.language as tl

from .boxes import LAST as LAST_ORDER
from .boxes import MIN_UNION as LEAST_DIVISOR

EXACT = dict(enable_fp_fusion=False)
# Denominator of an overlap.
UNION, FIRST, SECOND = (tl.constexpr(mode) for mode in range(3))
MIN_UNION = tl.constexpr(LEAST_DIVISOR)
LAST = tl.constexpr(LAST_ORDER)


@triton.jit
def load_boxes(boxes, index, inside):
    """Load coordinates and area; boxes that are not finite become empty.

    Args:
        boxes: Pointer to boxes (n, 4).
        index: Indices of the boxes to load.
        inside: Whether each of them exists.
    """
    x1 = tl.load(boxes + 4 * index, mask=inside, other=0).to(tl.float32)
    y1 = tl.load(boxes + 4 * index + 1, mask=inside, other=0).to(tl.float32)
    x2 = tl.load(boxes + 4 * index + 2, mask=inside, other=0).to(tl.float32)
    y2 = tl.load(boxes + 4 * index + 3, mask=inside, other=0).to(tl.float32)
    limit = float('inf')
    # Comparisons with NaN are false.
    finite = (tl.abs(x1) < limit) & (tl.abs(y1) < limit)
    finite = finite & (tl.abs(x2) < limit) & (tl.abs(y2) < limit)
    x1 = tl.where(finite, x1, 0.0)
    y1 = tl.where(finite, y1, 0.0)
    x2 = tl.where(finite, x2, 0.0)
    y2 = tl.where(finite, y2, 0.0)
    return x1, y1, x2, y2, (x2 - x1) * (y2 - y1)


@triton.jit
def overlap(first, second, MODE: tl.constexpr):
    """Intersection over union, or over the area of one box.

    Args:
        first: Boxes from ``load_boxes``.
        second: Boxes from ``load_boxes``, in a broadcastable shape.
        MODE: ``UNION``, ``FIRST`` or ``SECOND``.
    """
    width = tl.minimum(first[2], second[2]) - tl.maximum(first[0], second[0])
    height = tl.minimum(first[3], second[3]) - tl.maximum(first[1], second[1])
    intersection = tl.maximum(width, 0.0) * tl.maximum(height, 0.0)
    if MODE == UNION:
        area = first[4] + second[4] - intersection
    elif MODE == FIRST:
        area = first[4] + tl.zeros_like(intersection)
    else:
        area = second[4] + tl.zeros_like(intersection)
    area = tl.maximum(area, MIN_UNION)
    # Most intersections are 0, which a GPU divides on a slow path.
    touch = intersection > 0
    return tl.where(
        touch, tl.div_rn(tl.where(touch, intersection, area), area), 0.0
    )


@triton.jit
def bits_of(value):
    """Bits of a float32 of at least +0, which sort like the values."""
    return value.to(tl.int32, bitcast=True).to(tl.int64)


@triton.jit
def pack(value, order):
    """Integers that sort by ``value``, at least +0, on ties by ``order``."""
    return (bits_of(value) << 32) | order


@triton.jit
def unpack(key):
    """Inverse of ``pack``."""
    value = (key >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    return value, key & LAST

"""Best overlaps and low-quality matches without the matrix.

One kernel keeps the best box of each prior and the best overlap of each box,
the next one compares each overlap with the latter: two launches, whatever the
number of boxes.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .box_tiles import EXACT, LAST, UNION, load_boxes, overlap, pack, unpack

PRIORS, BOXES = 64, 32
WARPS = 4
# Names of box_tiles.UNION, FIRST and SECOND.
MODES = ('iou', 'iof', 'iof_prior')
NOBODY = tl.constexpr(2**31 - 1)


def best_overlaps(
    boxes: Tensor,
    priors: Tensor,
    mode: str = 'iou',
    ignored: Tensor | None = None,
    peaks: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Best overlap of each prior, -1 if ignored, and the first such box.

    Args:
        boxes: Shape (G, 4), G > 0; one that is not finite overlaps nothing.
        priors: Shape (N, 4), N > 0; likewise.
        mode: ``'iou'``; the share of the box, ``'iof'``; or that of the
            prior, ``'iof_prior'``.
        ignored: Flags (N,) of priors that take no part.
        peaks: Zeros (G,), int64; becomes each box's highest overlap above 0
            and the first such prior, packed.
    """
    boxes, priors = boxes[:, :4].contiguous(), priors[:, :4].contiguous()
    overlaps = priors.new_empty(len(priors), dtype=torch.float32)
    nearest = priors.new_empty(len(priors), dtype=torch.long)
    with torch.cuda.device_of(priors):
        _best_kernel[(triton.cdiv(len(priors), PRIORS),)](
            boxes,
            priors,
            priors if ignored is None else ignored,
            overlaps,
            nearest,
            nearest if peaks is None else peaks,
            len(boxes),
            len(priors),
            MODE=MODES.index(mode),
            SOME_IGNORED=ignored is not None,
            WITH_PEAKS=peaks is not None,
            PRIORS=PRIORS,
            BOXES=BOXES,
            num_warps=WARPS,
            **EXACT,
        )
    return overlaps, nearest


def match(
    boxes: Tensor,
    priors: Tensor,
    ignored: Tensor | None,
    min_overlap: float,
    all_ties: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """``best_overlaps`` and the last box that has its own best at a prior.

    Args:
        boxes: Shape (G, 4), G > 0.
        priors: Shape (N, 4), N > 0.
        ignored: Flags (N,) or None.
        min_overlap: Boxes whose best is lower have none, nor those at 0.
        all_ties: All priors at which a box has its best, else the first.

    Returns:
        Overlaps, boxes and matching boxes, -1 for none, each (N,).
    """
    boxes, priors = boxes[:, :4].contiguous(), priors[:, :4].contiguous()
    peaks = boxes.new_zeros(len(boxes), dtype=torch.long)
    overlaps, nearest = best_overlaps(
        boxes, priors, ignored=ignored, peaks=peaks
    )
    matched_by = torch.empty_like(nearest)
    with torch.cuda.device_of(priors):
        _low_quality_kernel[(triton.cdiv(len(priors), PRIORS),)](
            boxes,
            priors,
            priors if ignored is None else ignored,
            peaks,
            matched_by,
            min_overlap,
            len(boxes),
            len(priors),
            SOME_IGNORED=ignored is not None,
            ALL_TIES=all_ties,
            PRIORS=PRIORS,
            BOXES=BOXES,
            num_warps=WARPS,
            **EXACT,
        )
    return overlaps, nearest, matched_by


@triton.jit
def _best_kernel(
    boxes,
    priors,
    ignored,
    overlaps,
    nearest,
    peaks,
    num_boxes,
    num_priors,
    MODE: tl.constexpr,
    SOME_IGNORED: tl.constexpr,
    WITH_PEAKS: tl.constexpr,
    PRIORS: tl.constexpr,
    BOXES: tl.constexpr,
):
    prior = tl.program_id(0) * PRIORS + tl.arange(0, PRIORS)
    inside = (prior < num_priors)[:, None]
    prior_box = load_boxes(priors, prior[:, None], inside)
    if SOME_IGNORED:
        skip = tl.load(ignored + prior[:, None], mask=inside, other=0) != 0
    # Each column keeps its best on its own, which saves a reduction per tile.
    best = tl.full((PRIORS, BOXES), -2.0, tl.float32)
    which = tl.zeros((PRIORS, BOXES), tl.int32)
    for start in tl.range(0, num_boxes, BOXES):
        box = start + tl.arange(0, BOXES)
        exists = box < num_boxes
        tile = overlap(
            load_boxes(boxes, box[None], exists[None]), prior_box, MODE
        )
        if SOME_IGNORED:
            tile = tl.where(skip, -1.0, tile)
        better = (tile > best) & exists[None]
        best = tl.where(better, tile, best)
        which = tl.where(better, box[None], which)
        if WITH_PEAKS:
            tile = tl.where(inside, tile, -1.0)
            top = tl.max(tile, axis=0)
            at = tl.where(tile == top[None], prior[:, None], NOBODY)
            key = pack(top, LAST - tl.min(at, axis=0).to(tl.int64))
            tl.atomic_max(peaks + box, key, mask=exists & (top > 0))
    top = tl.max(best, axis=1)
    first = tl.min(tl.where(best == top[:, None], which, NOBODY), axis=1)
    tl.store(overlaps + prior, top, mask=prior < num_priors)
    tl.store(nearest + prior, first, mask=prior < num_priors)


@triton.jit
def _low_quality_kernel(
    boxes,
    priors,
    ignored,
    peaks,
    matched_by,
    min_overlap,
    num_boxes,
    num_priors,
    SOME_IGNORED: tl.constexpr,
    ALL_TIES: tl.constexpr,
    PRIORS: tl.constexpr,
    BOXES: tl.constexpr,
):
    prior = tl.program_id(0) * PRIORS + tl.arange(0, PRIORS)
    inside = (prior < num_priors)[:, None]
    if ALL_TIES:
        prior_box = load_boxes(priors, prior[:, None], inside)
        if SOME_IGNORED:
            skip = tl.load(ignored + prior[:, None], mask=inside, other=0) != 0
    last = tl.full((PRIORS, BOXES), -1, tl.int32)
    for start in tl.range(0, num_boxes, BOXES):
        box = start + tl.arange(0, BOXES)
        exists = box < num_boxes
        peak = tl.load(peaks + box, mask=exists, other=0)
        top, order = unpack(peak)
        wanted = (peak > 0) & (top >= min_overlap)
        if ALL_TIES:
            tile = overlap(
                load_boxes(boxes, box[None], exists[None]), prior_box, UNION
            )
            found = tile == top[None]
            if SOME_IGNORED:
                found = found & (skip == 0)
        else:
            found = prior[:, None] + order[None] == LAST
        last = tl.where(found & wanted[None], box[None], last)
    last = tl.max(last, axis=1)
    tl.store(matched_by + prior, last, mask=prior < num_priors)

"""Assignment by the highest IoU without storing the IoU matrix.

One kernel finds the best box of each prior and the best overlap of each box.
The next compares overlaps with the best ones and assigns. Any number of boxes
takes two kernels and a fill.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .box_tiles import EXACT, LAST, UNION, load_boxes, overlap, pack, unpack

PRIORS, BOXES = 64, 16
WARPS = 4
# Names of box_tiles.UNION, FIRST and SECOND.
MODES = ('iou', 'iof', 'iof_prior')
NO_PRIOR = tl.constexpr(2**31 - 1)


def best_overlaps(
    boxes: Tensor,
    priors: Tensor,
    mode: str = 'iou',
    ignored: Tensor | None = None,
    peaks: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Best overlap of each prior, -1 if ignored, and the first such box.

    Args:
        boxes: Shape (G, 4), G > 0; a box that is not finite overlaps nothing.
        priors: Shape (N, 4), N > 0; likewise.
        mode: ``'iou'``; ``'iof'``, intersection over the box's area; or
            ``'iof_prior'``, intersection over the prior's area.
        ignored: Flags (N,) of priors to leave out.
        peaks: Zeros (G,), int64; receives each box's highest overlap above 0
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


class Rule(NamedTuple):
    """Rule of assignment.

    Attributes:
        positive: Minimum overlap of a positive prior.
        low: Minimum overlap of a background prior.
        high: Background priors overlap less than this.
        match: Whether to add low-quality matches.
        min_overlap: No low-quality match below this overlap, and none at 0.
        all_ties: Match all priors of equal overlap, else the first.
        to_nearest: Assign a matched prior to its own best box, else to the
            last box that matches it.
    """

    positive: float
    low: float
    high: float
    match: bool
    min_overlap: float
    all_ties: bool
    to_nearest: bool


def assign(
    boxes: Tensor,
    box_labels: Tensor,
    priors: Tensor,
    ignored: Tensor | None,
    rule: Rule,
) -> tuple[Tensor, Tensor, Tensor]:
    """Assign priors to boxes, each (N,).

    Args:
        boxes: Shape (G, 4), G > 0.
        box_labels: Shape (G,).
        priors: Shape (N, 4), N > 0.
        ignored: Flags (N,) or None.
        rule: Rule of assignment.

    Returns:
        1-based boxes, 0 for background, -1 for neither; best overlaps; labels,
        -1 for priors that are not positive.
    """
    boxes, priors = boxes[:, :4].contiguous(), priors[:, :4].contiguous()
    peaks = boxes.new_zeros(len(boxes), dtype=torch.long)
    overlaps, inds = best_overlaps(
        boxes, priors, ignored=ignored, peaks=peaks if rule.match else None
    )
    labels = torch.empty_like(inds)
    with torch.cuda.device_of(priors):
        _assign_kernel[(triton.cdiv(len(priors), PRIORS),)](
            boxes,
            box_labels.long().contiguous(),
            priors,
            priors if ignored is None else ignored,
            peaks,
            overlaps,
            inds,
            labels,
            float(rule.positive),
            float(rule.low),
            float(rule.high),
            float(rule.min_overlap),
            len(boxes),
            len(priors),
            SOME_IGNORED=ignored is not None,
            MATCH=rule.match,
            ALL_TIES=rule.all_ties,
            TO_NEAREST=rule.to_nearest,
            PRIORS=PRIORS,
            BOXES=BOXES,
            num_warps=WARPS,
            **EXACT,
        )
    return inds, overlaps, labels


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
    # A best value per column saves a reduction per tile.
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
            at = tl.where(tile == top[None], prior[:, None], NO_PRIOR)
            key = pack(top, LAST - tl.min(at, axis=0).to(tl.int64))
            tl.atomic_max(peaks + box, key, mask=exists & (top > 0))
    top = tl.max(best, axis=1)
    first = tl.min(tl.where(best == top[:, None], which, NO_PRIOR), axis=1)
    tl.store(overlaps + prior, top, mask=prior < num_priors)
    tl.store(nearest + prior, first, mask=prior < num_priors)


@triton.jit
def _assign_kernel(
    boxes,
    box_labels,
    priors,
    ignored,
    peaks,
    overlaps,
    inds,
    labels,
    positive,
    low,
    high,
    min_overlap,
    num_boxes,
    num_priors,
    SOME_IGNORED: tl.constexpr,
    MATCH: tl.constexpr,
    ALL_TIES: tl.constexpr,
    TO_NEAREST: tl.constexpr,
    PRIORS: tl.constexpr,
    BOXES: tl.constexpr,
):
    """Assign in place; ``inds`` holds each prior's best box on entry."""
    prior = tl.program_id(0) * PRIORS + tl.arange(0, PRIORS)
    inside = prior < num_priors
    nearest = tl.load(inds + prior, mask=inside, other=0)
    best = tl.load(overlaps + prior, mask=inside, other=0)
    ind = tl.where((best >= low) & (best < high), 0, -1).to(tl.int64)
    ind = tl.where(best >= positive, nearest + 1, ind)
    if MATCH:
        if ALL_TIES:
            prior_box = load_boxes(priors, prior[:, None], inside[:, None])
        last = tl.full((PRIORS, BOXES), -1, tl.int32)
        for start in tl.range(0, num_boxes, BOXES):
            box = start + tl.arange(0, BOXES)
            exists = box < num_boxes
            peak = tl.load(peaks + box, mask=exists, other=0)
            top, order = unpack(peak)
            wanted = (peak > 0) & (top >= min_overlap)
            if ALL_TIES:
                tile = overlap(
                    load_boxes(boxes, box[None], exists[None]),
                    prior_box,
                    UNION,
                )
                found = tile == top[None]
            else:
                found = prior[:, None] + order[None] == LAST
            last = tl.where(found & wanted[None], box[None], last)
        matching = tl.max(last, axis=1)
        if SOME_IGNORED:
            skip = tl.load(ignored + prior, mask=inside, other=0) != 0
            matching = tl.where(skip, -1, matching)
        owner = nearest if TO_NEAREST else matching.to(tl.int64)
        ind = tl.where(matching >= 0, owner + 1, ind)
    label = tl.load(box_labels + ind - 1, mask=inside & (ind > 0), other=-1)
    tl.store(inds + prior, ind, mask=inside)
    tl.store(labels + prior, label, mask=inside)

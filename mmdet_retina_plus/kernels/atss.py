"""ATSS in five kernel launches for any number of ground truths and levels.

Each chunk of priors gets a hull. Each ground truth visits chunks, nearest
first, until no other can contain a nearer prior. Its candidates give the
threshold. Each prior goes to the positive match of highest IoU.

Adaptive training sample selection: https://arxiv.org/abs/1912.02424
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .box_tiles import EXACT, LAST, UNION, load_boxes, overlap, pack, unpack
from .boxes import FAR as IGNORED_DISTANCE
from .boxes import MARGIN as LEAST_DEPTH
from .max_iou import best_overlaps

# Minimum priors per chunk. The number of chunks of a level is limited since a
# program reads all of their hulls.
MIN_CHUNK = 256
MAX_CHUNKS = 4096
PRIORS = 256
# Ground truths per program. Searches differ in length, so more than one would
# only wait for the longest.
GTS = 1
# Chunks that a warp holds in registers.
CHUNKS_PER_WARP = 1024
FAR = tl.constexpr(IGNORED_DISTANCE)
MARGIN = tl.constexpr(LEAST_DEPTH)
# Keys above all packed distances, for empty slots and processed items.
EMPTY = tl.constexpr(0x7F800001 << 32)
DONE = tl.constexpr(0x7FFFFFFF << 32)


class Candidates(NamedTuple):
    """Candidates of ground truths.

    Attributes:
        prior: Index of the prior, shape (K, G): by level, then by distance,
            then by index.
        overlap: IoU of prior and ground truth, 0 in an ignore region, shape
            (K, G).
        positive: Whether the candidate is positive for the ground truth, shape
            (K, G).
        winners: Highest IoU of each prior with a ground truth that it is
            positive for, and the first of these ground truths in reverse
            order, packed by ``pack``; 0 for none, shape (N,).
    """

    prior: Tensor
    overlap: Tensor
    positive: Tensor
    winners: Tensor


def find_candidates(
    gt_bboxes: Tensor,
    priors: Tensor,
    ignored: Tensor | None,
    levels: Sequence[tuple[int, int]],
) -> Candidates:
    """Find the candidates of all ground truths, and the winner of each prior.

    Args:
        gt_bboxes: Shape (G, 4), G > 0.
        priors: Shape (N, 4), N > 0.
        ignored: Flags (N,) of priors that are chosen last and never positive.
        levels: Number of priors and number of candidates of each level, both
            above 0.
    """
    gt_bboxes = gt_bboxes[:, :4].contiguous()
    priors = priors[:, :4].contiguous()
    sizes = [size for size, _ in levels]
    chunk = max(MIN_CHUNK, triton.next_power_of_2(max(sizes) // MAX_CHUNKS))
    counts = [count for _, count in levels]
    chunks = [triton.cdiv(size, chunk) for size in sizes]
    table = level_table(tuple(levels), chunk, priors.device)
    hulls = priors.new_empty((5, sum(chunks)), dtype=torch.float32)
    shape = (sum(counts), len(gt_bboxes))
    prior = priors.new_empty(shape, dtype=torch.long)
    result = Candidates(
        prior,
        torch.empty_like(prior, dtype=torch.float32),
        torch.empty_like(prior, dtype=torch.bool),
        priors.new_zeros(len(priors), dtype=torch.long),
    )
    flags = dict(SOME_IGNORED=ignored is not None, **EXACT)
    if ignored is None:
        ignored = priors
    programs = triton.cdiv(len(gt_bboxes), GTS)
    slots = triton.next_power_of_2(max(chunks))
    with torch.cuda.device_of(priors):
        _hull_kernel[(max(chunks), len(levels))](
            priors, ignored, table, hulls, sum(chunks), CHUNK=chunk, **flags
        )
        _nearest_kernel[(programs, len(levels))](
            gt_bboxes,
            priors,
            ignored,
            table,
            hulls,
            prior,
            sum(chunks),
            len(gt_bboxes),
            CHUNK=chunk,
            CHUNKS=slots,
            KEPT=triton.next_power_of_2(max(counts)),
            GTS=GTS,
            num_warps=max(1, slots // CHUNKS_PER_WARP),
            **flags,
        )
        _decide_kernel[(programs,)](
            gt_bboxes,
            priors,
            ignored,
            *result,
            len(prior),
            len(gt_bboxes),
            CANDIDATES=triton.next_power_of_2(len(prior)),
            GTS=GTS,
            num_warps=1,
            **flags,
        )
    return result


def resolve(
    gt_bboxes: Tensor,
    gt_labels: Tensor,
    priors: Tensor,
    ignored: Tensor | None,
    winners: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Assign to each prior a ground truth, overlap and label, each (N,).

    Args:
        gt_bboxes: Shape (G, 4), G > 0.
        gt_labels: Shape (G,).
        priors: Shape (N, 4), N > 0.
        ignored: Flags (N,) or None.
        winners: As in ``Candidates``.
    """
    overlaps, gt_inds = best_overlaps(gt_bboxes, priors)
    labels = torch.empty_like(gt_inds)
    with torch.cuda.device_of(priors):
        _resolve_kernel[(triton.cdiv(len(priors), PRIORS),)](
            gt_labels.long().contiguous(),
            priors if ignored is None else ignored,
            winners,
            gt_inds,
            overlaps,
            labels,
            len(priors),
            SOME_IGNORED=ignored is not None,
            PRIORS=PRIORS,
        )
    return gt_inds, overlaps, labels


@lru_cache
def level_table(
    levels: tuple[tuple[int, int], ...], chunk: int, device: torch.device
) -> Tensor:
    """Table (L, 5): size, count, first prior, first candidate, first chunk.

    It is copied to the device without synchronisation, and cached there.
    """
    sizes, counts = zip(*levels, strict=True)
    chunks = [triton.cdiv(size, chunk) for size in sizes]
    starts = [
        accumulate((0, *values[:-1])) for values in (sizes, counts, chunks)
    ]
    rows = list(zip(sizes, counts, *starts, strict=True))
    table = torch.tensor(rows, pin_memory=device.type == 'cuda')
    return table.to(device, non_blocking=True)


@triton.jit
def _centres(boxes, index, inside):
    x1, y1, x2, y2, _ = load_boxes(boxes, index, inside)
    return (x1 + x2) * 0.5, (y1 + y2) * 0.5


@triton.jit
def _distance(x, y):
    # mmdet's order of operations, for bit-identical results.
    return tl.sqrt_rn(x * x + y * y)


@triton.jit
def _hull_kernel(
    priors,
    ignored,
    table,
    hulls,
    num_chunks,
    CHUNK: tl.constexpr,
    SOME_IGNORED: tl.constexpr,
):
    """Bounds (5, num_chunks) of chunks: x and y, and the least distance."""
    level = table + tl.program_id(1) * 5
    size = tl.load(level)
    if tl.program_id(0) * CHUNK < size:
        at = tl.program_id(0) * CHUNK + tl.arange(0, CHUNK)
        prior = tl.load(level + 2) + at
        inside = at < size
        x, y = _centres(priors, prior, inside)
        hull = hulls + tl.load(level + 4) + tl.program_id(0)
        big = float('inf')
        tl.store(hull, tl.min(tl.where(inside, x, big), axis=0))
        hull += num_chunks
        tl.store(hull, tl.min(tl.where(inside, y, big), axis=0))
        hull += num_chunks
        tl.store(hull, tl.max(tl.where(inside, x, -big), axis=0))
        hull += num_chunks
        tl.store(hull, tl.max(tl.where(inside, y, -big), axis=0))
        hull += num_chunks
        least = 0.0
        if SOME_IGNORED:
            some = tl.load(ignored + prior, mask=inside, other=1) != 0
            least = tl.min(tl.where(some, FAR, 0.0), axis=0)
        tl.store(hull, least)


@triton.jit
def _nearest_kernel(
    gt_bboxes,
    priors,
    ignored,
    table,
    hulls,
    nearest,
    num_chunks,
    num_gts,
    CHUNK: tl.constexpr,
    CHUNKS: tl.constexpr,
    KEPT: tl.constexpr,
    GTS: tl.constexpr,
    SOME_IGNORED: tl.constexpr,
):
    """Find the priors of a level nearest to ground truths, in order.

    Each ground truth visits the nearest unvisited chunk as long as it may
    contain a prior nearer than the worst of those kept. Rounding is monotonic,
    so the distance to a chunk's hull bounds those to its priors bit for bit.
    """
    gt = tl.program_id(0) * GTS + tl.arange(0, GTS)
    present = gt < num_gts
    level = table + tl.program_id(1) * 5
    size, count = tl.load(level), tl.load(level + 1)
    x, y = _centres(gt_bboxes, gt[:, None], present[:, None])

    chunk = tl.arange(0, CHUNKS)[None]
    exists = chunk < (size + CHUNK - 1) // CHUNK
    hull = hulls + tl.load(level + 4) + chunk
    below = tl.load(hull, mask=exists, other=0) - x
    above = x - tl.load(hull + 2 * num_chunks, mask=exists, other=0)
    across = tl.maximum(tl.maximum(below, above), 0.0)
    below = tl.load(hull + num_chunks, mask=exists, other=0) - y
    above = y - tl.load(hull + 3 * num_chunks, mask=exists, other=0)
    down = tl.maximum(tl.maximum(below, above), 0.0)
    least = tl.load(hull + 4 * num_chunks, mask=exists, other=0)
    ahead = pack(tl.maximum(_distance(across, down), least), chunk)
    ahead = tl.where(exists & present[:, None], ahead, DONE)

    slot = tl.arange(0, KEPT).to(tl.int64)[None]
    kept = tl.where(slot < count, EMPTY + slot, -1)
    kept = tl.where(present[:, None], kept, -1)
    worst = tl.max(kept, axis=1)
    visited = tl.min(ahead, axis=1)
    busy = (visited >> 32) <= (worst >> 32)
    while tl.max(busy.to(tl.int32), axis=0) > 0:
        at = (visited & LAST)[:, None] * CHUNK + tl.arange(0, CHUNK)[None]
        prior = tl.load(level + 2) + at
        inside = busy[:, None] & (at < size)
        prior_x, prior_y = _centres(priors, prior, inside)
        distance = _distance(prior_x - x, prior_y - y)
        if SOME_IGNORED:
            some = tl.load(ignored + prior, mask=inside, other=0) != 0
            distance = tl.maximum(distance, tl.where(some, FAR, 0.0))
        keys = tl.where(inside, pack(distance, prior), DONE)
        key = tl.min(keys, axis=1)
        while tl.max((key < worst).to(tl.int32), axis=0) > 0:
            swap = (kept == worst[:, None]) & (key < worst)[:, None]
            kept = tl.where(swap, key[:, None], kept)
            worst = tl.max(kept, axis=1)
            keys = tl.where(keys == key[:, None], DONE, keys)
            key = tl.min(keys, axis=1)
        ahead = tl.where(ahead == visited[:, None], DONE, ahead)
        visited = tl.min(ahead, axis=1)
        busy = (visited >> 32) <= (worst >> 32)

    out = nearest + tl.load(level + 3) * num_gts + gt
    kept = tl.where(kept >= 0, kept, DONE)
    key = tl.min(kept, axis=1)
    while tl.min(key, axis=0) < DONE:
        tl.store(out, key & LAST, mask=key < DONE)
        out += num_gts
        kept = tl.where(kept == key[:, None], DONE, kept)
        key = tl.min(kept, axis=1)


@triton.jit
def _decide_kernel(
    gt_bboxes,
    priors,
    ignored,
    nearest,
    overlaps,
    positives,
    winners,
    num_candidates,
    num_gts,
    CANDIDATES: tl.constexpr,
    GTS: tl.constexpr,
    SOME_IGNORED: tl.constexpr,
):
    """Compute thresholds of ground truths, and their positive candidates."""
    gt = tl.program_id(0) * GTS + tl.arange(0, GTS)[:, None]
    candidate = tl.arange(0, CANDIDATES)[None]
    inside = (candidate < num_candidates) & (gt < num_gts)
    place = candidate.to(tl.int64) * num_gts + gt
    prior = tl.load(nearest + place, mask=inside, other=0)
    box = load_boxes(gt_bboxes, gt, gt < num_gts)
    prior_box = load_boxes(priors, prior, inside)
    value = overlap(prior_box, box, UNION)

    # The order of summation depends on the layout. In single precision its
    # rounding would decide where all overlaps are equal.
    precise = tl.where(inside, value.to(tl.float64), 0.0)
    mean = tl.sum(precise, axis=1) / num_candidates
    rest = tl.where(inside, precise - mean[:, None], 0.0)
    # A single candidate has no spread.
    variance = tl.sum(rest * rest, axis=1) / tl.maximum(num_candidates - 1, 1)
    threshold = (mean + tl.sqrt(variance)).to(tl.float32)[:, None]

    x = (prior_box[0] + prior_box[2]) * 0.5
    y = (prior_box[1] + prior_box[3]) * 0.5
    depth = tl.minimum(
        tl.minimum(x - box[0], y - box[1]), tl.minimum(box[2] - x, box[3] - y)
    )
    wanted = inside & (value >= threshold) & (depth > MARGIN)
    # Empty boxes may have an IoU of -0, which does not pack.
    value = tl.abs(value)
    if SOME_IGNORED:
        some = tl.load(ignored + prior, mask=inside, other=1) != 0
        wanted = wanted & (some == 0)
        value = tl.where(some, 0.0, value)
    key = pack(value, LAST - gt.to(tl.int64))
    tl.atomic_max(winners + prior, key, mask=wanted)
    tl.store(overlaps + place, value, mask=inside)
    tl.store(positives + place, wanted, mask=inside)


@triton.jit
def _resolve_kernel(
    gt_labels,
    ignored,
    winners,
    gt_inds,
    overlaps,
    labels,
    num_priors,
    SOME_IGNORED: tl.constexpr,
    PRIORS: tl.constexpr,
):
    prior = tl.program_id(0) * PRIORS + tl.arange(0, PRIORS)
    inside = prior < num_priors
    winner = tl.load(winners + prior, mask=inside, other=0)
    value, order = unpack(winner)
    taken = winner > 0
    gt = tl.where(taken, LAST - order, 0)
    other = tl.zeros_like(winner)
    if SOME_IGNORED:
        some = tl.load(ignored + prior, mask=inside, other=0) != 0
        other = tl.where(some, -1, other)
    tl.store(gt_inds + prior, tl.where(taken, gt + 1, other), mask=inside)
    tl.store(overlaps + prior, value, mask=taken)
    label = tl.load(gt_labels + gt, mask=taken, other=-1)
    tl.store(labels + prior, label, mask=inside)

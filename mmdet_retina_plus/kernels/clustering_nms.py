"""NMS that records for each box its leader, the box that suppresses it.

Boxes are coordinates (5, N), see ``boxes``.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .boxes import iou

# Boxes of a class per step: with more, more pairs are compared for nothing;
# with fewer, there are more steps.
BLOCK = 64
# Pairs of boxes per tile, which should fit in the cache of a CPU.
TILE = 2**17


def scale_free_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU without mmdet's minimum union, since boxes may be normalised."""
    return iou(first, second, torch.finfo(first.dtype).tiny)


def find_leaders(boxes: Tensor, labels: Tensor, iou_thr: float) -> Tensor:
    """Find the index of each box's leader, shape (N,); leaders get their own.

    A box is a leader unless it overlaps an earlier leader of its class. The
    first such leader is the box's leader.

    Blocks of boxes are compared with leaders only. Memory grows with the
    number of boxes, time with that number times the number of leaders.

    Args:
        boxes: Coordinates (5, N), by descending score.
        labels: Shape (N,).
        iou_thr: Boxes overlap if their IoU is above this, 0 or more.
    """
    count = boxes.size(1)
    result = torch.arange(count + 1, device=boxes.device)
    # The padding is an empty box that overlaps nothing.
    boxes = F.pad(boxes, (0, 1))
    for table in class_tables(labels):
        leaders = torch.full_like(table[:, :1], count)
        for block in table.split(BLOCK, dim=1):
            leader = torch.full_like(block, count)
            for part in leaders.split(max(1, TILE // block.numel()), dim=1):
                overlapping = _overlapping(boxes, part, block, iou_thr)
                # Indices ascend, so the minimum is the first leader.
                leader = leader.minimum(_first(overlapping, part, count))
            leaderless = (leader == count) & (block < count)
            overlapping = _overlapping(boxes, block, block, iou_thr).triu_(1)
            leads = _undominated(overlapping, leaderless)
            overlapping &= leads[..., None]
            leader = leader.minimum(_first(overlapping, block, count))
            result[block] = leader.where(leader < count, block)
            leaders = torch.cat([leaders, _gather(block, leads, count)], dim=1)
    return result[:count]


def class_tables(labels: Tensor) -> Iterator[Tensor]:
    """Yield tables (classes, boxes) of indices of boxes, one row per class.

    Rows are padded with N. Each class of a table has at least half as many
    boxes as the largest, so at most half of the table is padding.
    """
    count = len(labels)
    order = F.pad(labels.argsort(stable=True), (0, 1), value=count)
    _, sizes = labels.unique(return_counts=True)
    starts = sizes.cumsum(0) - sizes
    sizes, by_size = sizes.sort(descending=True, stable=True)
    starts = starts[by_size]
    lengths = sizes.tolist()
    done = 0
    while done < len(lengths):
        length = lengths[done]
        most = done + max(1, TILE // min(length, BLOCK) ** 2)
        similar = sum(2 * size >= length for size in lengths[done:most])
        rows = slice(done, done + similar)
        column = torch.arange(length, device=labels.device)
        place = starts[rows, None] + column
        yield order[place.where(column < sizes[rows, None], count)]
        done = rows.stop


def _overlapping(
    boxes: Tensor, first: Tensor, second: Tensor, iou_thr: float
) -> Tensor:
    """Flags (C, A, B) of overlap of boxes, by indices (C, A) and (C, B)."""
    return (
        scale_free_iou(boxes[:, first, None], boxes[:, second[:, None]])
        > iou_thr
    )


def _first(overlapping: Tensor, index: Tensor, default: int) -> Tensor:
    """Pick the index of the first flag in each column, shape (C, B).

    Args:
        overlapping: Flags (C, A, B).
        index: Indices (C, A) of the rows.
        default: Value for a column without a flag.
    """
    any_flag, row = overlapping.view(torch.uint8).max(dim=1)
    return index.gather(1, row).where(any_flag > 0, default)


def _undominated(overlapping: Tensor, leaderless: Tensor) -> Tensor:
    """Flag the leaderless boxes (C, B) that no earlier leader overlaps.

    Each round settles at least one more box of every chain, so the loop ends
    after as many rounds as the longest chain has boxes.

    Args:
        overlapping: Flags (C, B, B), above the diagonal.
        leaderless: Flags (C, B).
    """
    dominates = overlapping.to(torch.float32)
    leads = leaderless
    while True:
        dominated = leads[:, None].to(dominates) @ dominates
        settled = leaderless & (dominated[:, 0] == 0)
        if torch.equal(settled, leads):
            return leads
        leads = settled


def _gather(index: Tensor, wanted: Tensor, filling: int) -> Tensor:
    """Wanted indices of (C, B), in order, in rows as short as possible."""
    width = int(wanted.sum(dim=1).max())
    order = (~wanted).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
    return index.where(wanted, filling).gather(1, order)

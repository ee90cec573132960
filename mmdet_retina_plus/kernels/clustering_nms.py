"""NMS that keeps, for each box, the box that suppresses it: its leader.

Boxes are coordinates (5, N), see ``boxes``.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .boxes import iou

# Boxes of a class that look for leaders together: more are compared among
# each other in vain, fewer take more steps.
BLOCK = 64
# Pairs of boxes in a tile, which a CPU wants in its cache.
TILE = 2**17


def scale_free_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU without a minimum union, since boxes may be normalised."""
    return iou(first, second, torch.finfo(first.dtype).tiny)


def find_leaders(boxes: Tensor, labels: Tensor, iou_thr: float) -> Tensor:
    """Index of each box's leader, shape (N,); a leader has its own.

    A box leads unless it overlaps a leader of its class before it. If it does,
    it belongs to the first of these.

    Blocks of boxes are compared with leaders only, so that memory grows with
    the number of boxes, and time with that times the number of leaders.

    Args:
        boxes: Coordinates (5, N), by falling score.
        labels: Shape (N,).
        iou_thr: Boxes overlap whose IoU is above this, 0 or more.
    """
    count = boxes.size(1)
    result = torch.arange(count + 1, device=boxes.device)
    # The last is no box and overlaps nothing.
    boxes = F.pad(boxes, (0, 1))
    for table in class_tables(labels):
        leaders = torch.full_like(table[:, :1], count)
        for block in table.split(BLOCK, dim=1):
            leader = torch.full_like(block, count)
            for part in leaders.split(max(1, TILE // block.numel()), dim=1):
                overlapping = _overlapping(boxes, part, block, iou_thr)
                # Indices rise, so that of several leaders the first is kept.
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
    """Indices of the boxes of some classes, a row each, (classes, boxes).

    N fills the rows. A table's classes have at least half the boxes of its
    largest, so that no more than half of it is filling.
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
    """Flags (C, A, B) of boxes given by indices (C, A) and (C, B)."""
    return (
        scale_free_iou(boxes[:, first, None], boxes[:, second[:, None]])
        > iou_thr
    )


def _first(overlapping: Tensor, index: Tensor, default: int) -> Tensor:
    """For each column of flags (C, A, B) the index, of (C, A), of the first.

    Args:
        overlapping: Flags.
        index: What to pick from.
        default: For a column without a flag.
    """
    any_flag, row = overlapping.view(torch.uint8).max(dim=1)
    return index.gather(1, row).where(any_flag > 0, default)


def _undominated(overlapping: Tensor, leaderless: Tensor) -> Tensor:
    """Which of the leaderless boxes (C, B) lead, each its later ones.

    What is right for the first boxes makes the next ones right, hence it ends,
    after as many rounds as there are boxes in the longest chain.

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
    """The wanted of the indices (C, B), in order, as short as may be."""
    width = int(wanted.sum(dim=1).max())
    order = (~wanted).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
    return index.where(wanted, filling).gather(1, order)

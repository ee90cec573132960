"""Best overlaps of boxes and priors without storing their matrix.

Boxes are coordinates (5, n), see ``boxes``. Results do not depend on the size
of a tile.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import devices, dispatch
from .boxes import coordinates, iou, share_of_second

# Pairs of a box and a prior per tile: limited by the cache on a CPU, by the
# number of launches on a GPU.
CPU_TILE = 2**16
GPU_TILE = 2**20
# Shorter chunks of priors fit the boxes more closely, but there are more.
MIN_CHUNK = 256
# Boxes per search for chunks; bounds the list of pairs.
MAX_BLOCK = 1024

Overlap = Callable[[Tensor, Tensor], Tensor]


class LowQuality(NamedTuple):
    """Low-quality matches: each box with the priors it overlaps most.

    Attributes:
        min_overlap: No match below this overlap, and none at 0.
        all_ties: Match all priors of equal overlap, else the first.
    """

    min_overlap: float
    all_ties: bool


class Matches(NamedTuple):
    """Best overlaps of priors, and low-quality matches.

    Attributes:
        overlaps: Best overlap of each prior, -1 if ignored, shape (N,).
        nearest: First box with this overlap, shape (N,).
        matched_by: Last box with a low-quality match to this prior, -1 for
            none, shape (N,).
    """

    overlaps: Tensor
    nearest: Tensor
    matched_by: Tensor


def rows_per_launch(num_priors: int) -> int:
    """Boxes per launch on a GPU.

    Fewer than eight would come close to a launch per object.
    """
    return max(8, GPU_TILE // num_priors)


def finite_coordinates(boxes: Tensor, name: str) -> Tensor:
    """Boxes (n, 4) as coordinates (5, n), in at least single precision.

    On a GPU, where a check would synchronise, boxes that are not finite become
    empty and overlap nothing.

    Args:
        boxes: Boxes; further columns are ignored.
        name: Name of the boxes in error messages.

    Raises:
        ValueError: A box on the CPU is not finite.
    """
    boxes = boxes[:, :4]
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
    finite = boxes.isfinite()
    if not devices.may_wait(boxes.device):
        boxes = boxes.where(finite.all(dim=1, keepdim=True), 0)
    elif not finite.all():
        raise ValueError(f'{name} must be finite, found NaN or infinity')
    return coordinates(boxes)


def best_iou(boxes: Tensor, priors: Tensor, name: str = 'Priors') -> Tensor:
    """Highest IoU of each prior with any box, shape (N,); 0 without boxes.

    Args:
        boxes: Ground truths, shape (G, 4).
        priors: Shape (N, 4).
        name: Name of the priors in error messages.

    Raises:
        ValueError: See ``finite_coordinates``.
    """
    if len(boxes) and len(priors) and dispatch.usable(boxes, priors):
        from . import max_iou

        return max_iou.best_overlaps(boxes, priors)[0]
    first = finite_coordinates(boxes.float(), 'Ground truths')
    second = finite_coordinates(priors.float(), name)
    if not len(boxes) or not len(priors):
        return torch.zeros_like(second[0])
    return match(first, second).overlaps


def in_regions(priors: Tensor, regions: Tensor, iof_thr: float) -> Tensor:
    """Flag priors of which more than a fraction lies in one ignore region.

    Args:
        priors: Coordinates (5, N), single precision.
        regions: Boxes (R, 4).
        iof_thr: Threshold of the intersection over the prior's area. No prior
            is flagged unless it is above 0.

    Returns:
        Flags, shape (N,).

    Raises:
        ValueError: See ``finite_coordinates``.
    """
    if iof_thr <= 0 or not len(regions) or not priors.size(1):
        return torch.zeros_like(priors[0], dtype=torch.bool)
    regions = finite_coordinates(regions.float(), 'Ignore regions')
    return match(regions, priors, share_of_second).overlaps > iof_thr


def match(
    boxes: Tensor,
    priors: Tensor,
    overlap: Overlap = iou,
    ignored: Tensor | None = None,
    low_quality: LowQuality | None = None,
) -> Matches:
    """Best box of each prior and, if asked for, best priors of each box.

    Args:
        boxes: Coordinates (5, G), G > 0.
        priors: Coordinates (5, N), N > 0.
        overlap: Overlap of two coordinates, 0 where boxes do not touch.
        ignored: Flags (N,) of priors to leave out.
        low_quality: Which low-quality matches to find; None: none.
    """
    if devices.may_wait(priors.device):
        return _match_touching(boxes, priors, overlap, ignored, low_quality)
    return match_rows(
        lambda rows: overlap(boxes[:, rows, None], priors[:, None]),
        torch.arange(boxes.size(1), device=priors.device),
        priors.size(1),
        ignored,
        low_quality,
    )


def match_rows(
    overlap_rows: Callable[[Tensor], Tensor],
    ids: Tensor,
    num_priors: int,
    ignored: Tensor | None = None,
    low_quality: LowQuality | None = None,
) -> Matches:
    """Do what ``match`` does in whole rows, without reading any value.

    Args:
        overlap_rows: Returns the overlaps (B, N) of the boxes with some of
            ``ids``, shape (B,).
        ids: 0 to G - 1.
        num_priors: N.
        ignored: See ``match``.
        low_quality: See ``match``.
    """
    overlaps = torch.full((num_priors,), -torch.inf, device=ids.device)
    nearest = ids.new_zeros(num_priors)
    matched_by = ids.new_full((num_priors,), -1)
    for rows in ids.split(rows_per_launch(num_priors)):
        block = _summary(overlap_rows(rows), rows, ignored, low_quality)
        nearer = block.overlaps > overlaps
        nearest = torch.where(nearer, block.nearest, nearest)
        overlaps = torch.maximum(block.overlaps, overlaps)
        matched_by = torch.maximum(block.matched_by, matched_by)
    return Matches(overlaps, nearest, matched_by)


def _summary(
    tile: Tensor,
    rows: Tensor,
    ignored: Tensor | None,
    low_quality: LowQuality | None,
) -> Matches:
    """Matches of some boxes, from their whole rows (B, N)."""
    if ignored is not None:
        tile.masked_fill_(ignored, -1)
    best, which = tile.max(dim=0)
    matched_by = torch.full_like(which, -1)
    if low_quality is not None:
        top, first = tile.max(dim=1)
        strong = (top > 0) & (top >= low_quality.min_overlap)
        owner = torch.where(strong, rows, -1)
        if low_quality.all_ties:
            # Half as wide as indices, to halve the tile.
            owner = owner.int()[:, None]
            ties = tile == top[:, None]
            matched_by = torch.where(ties, owner, -1).amax(dim=0)
        else:
            matched_by.scatter_reduce_(0, first, owner, 'amax')
    return Matches(best, rows[which], matched_by)


def _match_touching(
    boxes: Tensor,
    priors: Tensor,
    overlap: Overlap,
    ignored: Tensor | None,
    low_quality: LowQuality | None,
) -> Matches:
    """Do what ``match`` does, skipping chunks that a box does not touch."""
    chunks = _Chunks(boxes, priors, overlap, ignored)
    overlaps = boxes.new_zeros(chunks.shape)
    nearest = torch.zeros(chunks.shape, dtype=torch.long)
    # An index past the last prior marks boxes without a match, and all boxes
    # if every tie matches.
    nowhere = overlaps.numel()
    first = torch.full((boxes.size(1),), nowhere)
    matched_by = torch.full((nowhere + 1,), -1)
    for ids in torch.arange(boxes.size(1)).split(MAX_BLOCK):
        pairs = chunks.touched_by(ids)
        for at, rows, peaks in pairs.by_chunk():
            tile = chunks.overlap(rows, slice(at, at + 1))
            torch.amax(tile, dim=1, out=peaks)
            best, which = tile.max(dim=0)
            nearer = best > overlaps[at]
            nearest[at] = torch.where(nearer, rows[which], nearest[at])
            overlaps[at] = torch.maximum(best, overlaps[at])
        if low_quality is None:
            continue
        for box, prior in chunks.maxima(pairs, low_quality.min_overlap):
            if low_quality.all_ties:
                matched_by.scatter_reduce_(0, prior, box, 'amax')
            else:
                first.scatter_reduce_(0, box, prior, 'amin')
    matched_by.scatter_reduce_(0, first, torch.arange(len(first)), 'amax')
    count = priors.size(1)
    overlaps = overlaps.flatten()[:count]
    if ignored is not None:
        overlaps.masked_fill_(ignored, -1)
    return Matches(overlaps, nearest.flatten()[:count], matched_by[:count])


class _Pairs(NamedTuple):
    """Pairs of a box and a chunk that it touches, ordered by chunk.

    Attributes:
        box: Index of the box, shape (P,).
        chunk: Index of the chunk, shape (P,).
        counts: Number of pairs of each chunk.
        peak: Buffer for the highest overlap within the pair, shape (P,).
    """

    box: Tensor
    chunk: Tensor
    counts: list[int]
    peak: Tensor

    def by_chunk(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield each touched chunk: its index, boxes and their peaks."""
        boxes = self.box.split(self.counts)
        peaks = self.peak.split(self.counts)
        for at, count in enumerate(self.counts):
            if count:
                yield at, boxes[at], peaks[at]


class _Chunks:
    """Priors in chunks, and the boxes to match with them.

    Neighbours in a pyramid's list of anchors are neighbours in the image, so
    the hull of a chunk is small. Any other order is also exact, but slower.
    """

    def __init__(
        self,
        boxes: Tensor,
        priors: Tensor,
        overlap: Overlap,
        ignored: Tensor | None,
    ) -> None:
        self.boxes = boxes
        self.pairwise = overlap
        count = priors.size(1)
        self.length = min(max(MIN_CHUNK, CPU_TILE // boxes.size(1)), count)
        padding = 0, -count % self.length
        # Copies of the last prior fill the last chunk.
        padded = F.pad(priors, padding, 'replicate')
        self.priors = padded.unflatten(1, (-1, self.length))
        self.shape = self.priors.shape[1:]
        if ignored is not None:
            # The copies must not replace an ignored last prior.
            ignored = F.pad(ignored, padding, value=True).view(self.shape)
        self.ignored = ignored
        self.low = self.priors[:2].amin(dim=2)
        self.high = self.priors[2:4].amax(dim=2)

    def touched_by(self, ids: Tensor) -> _Pairs:
        """Pair boxes, by index (B,), with all chunks that they touch."""
        boxes = self.boxes[:4, None, ids]
        touching = self.low[..., None] < boxes[2:]
        touching &= self.high[..., None] > boxes[:2]
        chunk, row = touching.all(dim=0).nonzero(as_tuple=True)
        counts = chunk.bincount(minlength=self.shape[0]).tolist()
        return _Pairs(ids[row], chunk, counts, boxes.new_empty(len(row)))

    def overlap(self, box: Tensor, chunk: slice | Tensor) -> Tensor:
        """Overlaps (B, length) of boxes (B,) with one chunk, or one each."""
        tile = self.pairwise(self.boxes[:, box, None], self.priors[:, chunk])
        if self.ignored is not None:
            tile.masked_fill_(self.ignored[chunk], -1)
        return tile

    def maxima(
        self, pairs: _Pairs, min_overlap: float
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield boxes and priors (M,) where a box has its highest overlap.

        Few pairs have one, so computing their overlaps again costs less than
        keeping all tiles.
        """
        top = pairs.peak.new_zeros(self.boxes.size(1))
        top.scatter_reduce_(0, pairs.box, pairs.peak, 'amax')
        top.masked_fill_((top <= 0) | (top < min_overlap), torch.inf)
        highest = (pairs.peak == top[pairs.box]).nonzero().squeeze(1)
        for part in highest.split(max(1, CPU_TILE // self.length)):
            box, chunk = pairs.box[part], pairs.chunk[part]
            ties = self.overlap(box, chunk) == top[box, None]
            pair, column = ties.nonzero(as_tuple=True)
            yield box[pair], chunk[pair] * self.length + column

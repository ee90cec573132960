"""The priors whose centres are nearest to a point, ties by index."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet_retina_plus.kernels import devices, overlap_matching
from mmdet_retina_plus.kernels.boxes import FAR, LAST

# Priors per chunk: a few chunks contain the neighbours of a point.
CHUNK = 32


def pack(value: Tensor, order: Tensor) -> Tensor:
    """Pack into integers that sort by ``value``, on ties by ``order``.

    The same in Triton: ``kernels.box_tiles.pack``.

    Args:
        value: Float32, not below +0.
        order: Integers from 0 to ``LAST``, broadcastable with ``value``.
    """
    key = value.view(torch.int32).long()
    return key.bitwise_left_shift_(32).bitwise_or_(order)


def unpack(key: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse of ``pack``."""
    return (key >> 32).int().view(torch.float32), key & LAST


def _distance(offset: Tensor, least: Tensor) -> Tensor:
    """Lengths of offsets (2, ...), which are overwritten."""
    # mmdet's order of operations, for bit-identical results.
    x, y = offset.square_()
    return torch.maximum(x.add_(y).sqrt_(), least, out=x)


class Level:
    """Priors of one pyramid level, indexed for nearest-neighbour search.

    Args:
        centres: Shape (2, n), float32, n > 0.
        ignored: Flags (n,) of priors that come after all others.
        start: Index of the first prior.
    """

    def __init__(self, centres: Tensor, ignored: Tensor, start: int) -> None:
        # The third row is a lower bound of the distance from any point.
        points = torch.cat([centres, FAR * ignored[None]])
        size = points.size(1)
        index = torch.arange(start, start + size, device=points.device)
        self.in_chunks = devices.may_wait(points.device)
        if self.in_chunks:
            padding = 0, -size % CHUNK
            points = F.pad(points, padding, 'replicate')
            points[2, size:] = torch.inf
            points = points.unflatten(1, (-1, CHUNK))
            index = F.pad(index, padding).unflatten(0, (-1, CHUNK))
            self.low, self.high = points.amin(dim=2), points.amax(dim=2)
        self.points = points
        self.index = index

    def nearest(self, centres: Tensor, k: int) -> Tensor:
        """Indices (k, B) of the nearest priors, by distance, then by index.

        Args:
            centres: Points (2, B), float32.
            k: From 1 to the number of priors.
        """
        centres = centres.unsqueeze(2)
        if not self.in_chunks:
            return _first(centres, self.points[:, None], self.index, k)
        chunks = self._candidates(centres, k)
        at_once = max(
            1, 4 * overlap_matching.CPU_TILE // (chunks.size(1) * CHUNK)
        )
        parts = [
            _first(
                some,
                self.points[:, chunk].flatten(2),
                self.index[chunk].flatten(1),
                k,
            )
            for some, chunk in zip(
                centres.split(at_once, dim=1),
                chunks.split(at_once),
                strict=True,
            )
        ]
        return torch.cat(parts, dim=1)

    def _candidates(self, centres: Tensor, k: int) -> Tensor:
        """Find chunks (B, C) that contain the k nearest priors.

        Rounding is monotonic, so the distance to a chunk's hull bounds those
        to its priors bit for bit.
        """
        below = self.low[:2, None] - centres
        above = centres - self.high[:2, None]
        closest = torch.maximum(below, above).clamp_(min=0)
        farthest = torch.minimum(below, above)
        closest = _distance(closest, self.low[2])
        farthest = _distance(farthest, self.high[2])
        # This many full chunks hold k priors.
        enough = -(-k // CHUNK)
        bound = farthest.topk(enough, largest=False).values[:, -1:]
        count = int((closest <= bound).sum(dim=1).max())
        return closest.topk(count, largest=False, sorted=False).indices


def _first(centres: Tensor, points: Tensor, index: Tensor, k: int) -> Tensor:
    """Select the k nearest of candidates (3, B or 1, n) to (2, B, 1)."""
    keys = pack(_distance(points[:2] - centres, points[2]), index)
    return unpack(keys.topk(k, largest=False).values)[1].t()

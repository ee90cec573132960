"""Which points of a pyramid are positive for SAPD, and how much they weigh.

SAPD: https://arxiv.org/abs/1911.12448, section 3
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class PositivePoints(NamedTuple):
    """M pairs of a point and the object that it is positive for.

    Points are counted over the batch: image after image, in an image level
    after level, in a level row after row. No point stands in two pairs.

    Attributes:
        points: Shape (M,).
        levels: Level of each point, shape (M,).
        gts: Object of each, counted over the batch, shape (M,).
    """

    points: Tensor
    levels: Tensor
    gts: Tensor


def find_positive_points(
    gt_bboxes: Tensor,
    gt_images: Tensor,
    num_images: int,
    featmap_sizes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    shrink_factor: float = 0.2,
    whole_cells: bool = False,
) -> PositivePoints:
    """Points in the shrunk boxes of all objects of a batch, on every level.

    A level without a point in the shrunk box gives the object the row or the
    column of cells that its centre lies in, so that every object has a cell
    on every level, unless smaller ones take it: a cell that several objects
    want goes to the one of least area, and among equals to the first. Where
    such a cell's point lies outside the box, its ``centrality`` is 0.

    Time and memory grow with the number of pairs; there is no object x point
    matrix and no loop over objects.

    Args:
        gt_bboxes: Shape (G, 4).
        gt_images: Image of each object, shape (G,).
        num_images: Number of images in the batch.
        featmap_sizes: (H, W) of each level.
        strides: Stride of each level. Cell (i, j) has its point at
            ((j + 0.5) stride, (i + 0.5) stride).
        shrink_factor: Sides of the shrunk box over those of the box.
        whole_cells: Whether cells count that the shrunk box only touches, and
            not those alone whose point it contains.
    """
    device = gt_bboxes.device
    sizes = torch.tensor(featmap_sizes, device=device)
    steps = gt_bboxes.new_tensor(strides).unsqueeze(1)
    first, end = cell_rectangles(
        gt_bboxes, sizes.flip(1), steps, shrink_factor, whole_cells
    )
    columns, rows = (end - first).flatten(0, 1).unbind(1)
    counts = columns * rows
    pairs = torch.arange(len(counts), device=device).repeat_interleave(counts)
    number = torch.arange(len(pairs), device=device)
    number = number - (counts.cumsum(0) - counts)[pairs]
    x, y = first.flatten(0, 1)[pairs].unbind(1)
    x = x + number % columns[pairs]
    y = y + number // columns[pairs]
    gts, levels = pairs // len(sizes), pairs % len(sizes)

    areas = sizes.prod(dim=1)
    offsets = areas.cumsum(0) - areas
    num_points = sum(height * width for height, width in featmap_sizes)
    points = gt_images[gts] * num_points + offsets[levels]
    points = points + y * sizes[levels, 1] + x

    rank = rank_by_area(gt_bboxes)
    owners = rank.new_full((num_images * num_points,), len(rank))
    owners.scatter_reduce_(0, points, rank[gts], 'amin')
    # As numbers, so that a GPU's queue stops once and not three times.
    own = (owners[points] == rank[gts]).nonzero()[:, 0]
    return PositivePoints(points[own], levels[own], gts[own])


def cell_rectangles(
    gt_bboxes: Tensor,
    sizes: Tensor,
    strides: Tensor,
    shrink_factor: float,
    whole_cells: bool,
) -> tuple[Tensor, Tensor]:
    """First cell and end of the cells of G objects on L levels.

    Args:
        gt_bboxes: Shape (G, 4).
        sizes: (W, H) of each level, shape (L, 2).
        strides: Shape (L, 1).
        shrink_factor, whole_cells: As ``find_positive_points``.

    Returns:
        (x, y) of both, shape (G, L, 2), whole numbers.
    """
    low, high = gt_bboxes.unsqueeze(1).split(2, dim=2)
    centre = (low + high) / 2
    half = (high - low) * (shrink_factor / 2)
    low, high = (centre - half) / strides, (centre + half) / strides
    if whole_cells:
        first, end = low.floor(), high.ceil()
    else:
        first, end = (low - 0.5).ceil(), (high - 0.5).floor() + 1
    empty = end <= first
    own = (centre / strides).floor()
    first, end = first.where(~empty, own), end.where(~empty, own + 1)
    first = torch.minimum(first.long().clamp(min=0), sizes - 1)
    end = torch.maximum(torch.minimum(end.long(), sizes), first + 1)
    return first, end


def rank_by_area(bboxes: Tensor) -> Tensor:
    """Number of boxes that come before each by area, then by index."""
    order = (bboxes[:, 2:] - bboxes[:, :2]).prod(dim=1).argsort(stable=True)
    return order.argsort()


def side_distances(points: Tensor, bboxes: Tensor) -> Tensor:
    """Distances to the left, top, right and bottom side, at least 0.

    Args:
        points: Shape (M, 2).
        bboxes: Shape (M, 4).
    """
    return torch.cat(
        [points - bboxes[:, :2], bboxes[:, 2:] - points], dim=1
    ).clamp(min=0)


def centrality(distances: Tensor, eta: float = 1.0) -> Tensor:
    """Weight of points by their position in the box: 1 in the centre.

    [min(l, r) min(t, b) / (max(l, r) max(t, b))]^eta; with eta = .5 it is
    FCOS's centreness. A point that is not inside has 0.

    Args:
        distances: To the sides l, t, r, b, at least 0, shape (M, 4).
    """
    low, high = distances.view(-1, 2, 2).aminmax(dim=1)
    tiny = torch.finfo(high.dtype).tiny
    return (low / high.clamp(min=tiny)).prod(dim=1) ** eta

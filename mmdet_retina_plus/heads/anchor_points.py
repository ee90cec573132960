"""Positive points of a pyramid and their weights, for SAPD.

SAPD: https://arxiv.org/abs/1911.12448, section 3
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class PositivePoints(NamedTuple):
    """M pairs of a positive point and its object.

    Points are indexed over the batch: by image, then level, then row. Each
    point is in one pair at most.

    Attributes:
        points: Index of each point, shape (M,).
        levels: Level of each point, shape (M,).
        gts: Object of each point, indexed over the batch, shape (M,).
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
    """Find the points in the shrunk boxes of all objects, on every level.

    On a level without a point in the shrunk box, the object gets the row or
    column of cells that contains its centre. So every object has a cell on
    every level, unless smaller objects take it: a cell claimed by several
    objects goes to the smallest, on ties to the first. If the point of such a
    cell lies outside the box, its ``centrality`` is 0.

    Time and memory grow with the number of pairs; there is no object x point
    matrix and no loop over objects.

    Args:
        gt_bboxes: Shape (G, 4).
        gt_images: Image of each object, shape (G,).
        num_images: Number of images in the batch.
        featmap_sizes: (H, W) of each level.
        strides: Stride of each level. Cell (i, j) has its point at
            ((j + 0.5) stride, (i + 0.5) stride).
        shrink_factor: Ratio of the sides of the shrunk box to those of the
            box.
        whole_cells: Whether to include cells that the shrunk box touches, or
            only those whose point it contains.
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
    # Read as numbers, which synchronises a GPU once and not three times.
    own = (owners[points] == rank[gts]).nonzero()[:, 0]
    return PositivePoints(points[own], levels[own], gts[own])


def cell_rectangles(
    gt_bboxes: Tensor,
    sizes: Tensor,
    strides: Tensor,
    shrink_factor: float,
    whole_cells: bool,
) -> tuple[Tensor, Tensor]:
    """Compute the range of cells of G objects on L levels.

    Args:
        gt_bboxes: Shape (G, 4).
        sizes: (W, H) of each level, shape (L, 2).
        strides: Shape (L, 1).
        shrink_factor, whole_cells: See ``find_positive_points``.

    Returns:
        First cell and end (exclusive), (x, y) of shape (G, L, 2), integers.
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
    """Rank of each box by area, then by index."""
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
    """Weight points by their position in the box, 1 at the centre.

    [min(l, r) min(t, b) / (max(l, r) max(t, b))]^eta; with eta = .5 it is
    FCOS's centreness. Points outside the box have 0.

    Args:
        distances: To the sides l, t, r, b, at least 0, shape (M, 4).
    """
    low, high = distances.view(-1, 2, 2).aminmax(dim=1)
    tiny = torch.finfo(high.dtype).tiny
    return (low / high.clamp(min=tiny)).prod(dim=1) ** eta

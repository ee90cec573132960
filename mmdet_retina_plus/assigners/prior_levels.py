"""Read levels and locations from a list of anchors."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class _Locations(NamedTuple):
    """Centres and sizes of anchors, shape (n, 2) and (n,).

    Attributes:
        centre: x and y in pixels.
        size: Square root of the area, in pixels.
        slack: Tolerance for equal centres or sizes: the same anchor is rounded
            differently far from the origin.
    """

    centre: Tensor
    size: Tensor
    slack: Tensor

    @classmethod
    def of(cls, priors: Tensor) -> '_Locations':
        precise = torch.promote_types(priors.dtype, torch.float32)
        boxes = priors[:, :4].to(precise)
        noise = (
            4
            * torch.finfo(
                priors.dtype if priors.is_floating_point() else precise
            ).eps
        )
        low, high = boxes[:, :2], boxes[:, 2:]
        size = (high - low).prod(dim=1).abs().sqrt()
        slack = size * 1e-3 + boxes.abs().amax(dim=1) * noise
        return cls((low + high) / 2, size, slack)

    def at_first(self) -> Tensor:
        """Flags (n,) of the leading anchors at the first location."""
        distance = (self.centre - self.centre[0]).abs().amax(dim=1)
        return (distance <= self.slack[0]).long().cumprod(dim=0).bool()


def level_sizes(priors: Tensor) -> list[int]:
    """Read the number of priors of each pyramid level from their values.

    The priors of a level cover a grid row by row, with the same set of shapes
    at each location, and shapes grow from level to level.

    Args:
        priors: Boxes of all levels, shape (N, 4), N > 0.

    Raises:
        ValueError: The priors do not have this order, or the first level has
            one location only, whose shapes cannot be told from the next
            level's.
    """
    if len(priors) == 1:
        return [1]
    locations = _Locations.of(priors)
    per_location = int(locations.at_first().sum())
    if per_location == len(priors) or len(priors) % per_location:
        raise _unreadable()
    centre, size, slack = (
        values.unflatten(0, (-1, per_location)) for values in locations
    )
    spread = (centre - centre[:, :1]).abs().amax(dim=2)
    slack, size = slack.amin(dim=1), size.mean(dim=1)
    change, room = size.diff(), slack[1:] + slack[:-1]
    right, down = centre[:, 0].diff(dim=0).unbind(dim=1)
    onward = (down > room) | ((down >= -room) & (right > room))
    grows = change > room
    odd = (change < -room) | ~(onward | grows)
    if odd.any() or (spread > slack[:, None]).any():
        raise _unreadable()
    starts = [0, *(grows.nonzero().squeeze(1) + 1).tolist(), len(size)]
    return [(stop - start) * per_location for start, stop in pairwise(starts)]


class Grid(NamedTuple):
    """Grid of the priors of one level.

    Attributes:
        start: Index of the first prior.
        shapes: Width and height of the priors at one location, shape (A, 2).
        xs: Centres of the columns in pixels, ascending, shape (W,).
        ys: Centres of the rows in pixels, ascending, shape (H,).
    """

    start: int
    shapes: Tensor
    xs: Tensor
    ys: Tensor

    def nearest(self, centres: Tensor) -> Tensor:
        """Indices (A, G) of the priors at the location nearest each point.

        Ties go to the larger coordinate, so that for priors at cell centres
        the result is ``floor(x / stride)``. Points outside the grid are
        clamped to its border.

        Args:
            centres: x and y of the points, shape (2, G).
        """
        column, row = (
            torch.bucketize(
                values.contiguous(), (axis[1:] + axis[:-1]) / 2, right=True
            )
            for values, axis in zip(centres, (self.xs, self.ys), strict=True)
        )
        count = len(self.shapes)
        first = self.start + (row * len(self.xs) + column) * count
        return first + torch.arange(count, device=first.device)[:, None]


def grids(
    priors: Tensor,
    num_level_priors: Sequence[int],
    featmap_sizes: Sequence[tuple[int, int]] | None = None,
) -> list[Grid]:
    """Grid of each non-empty level.

    Args:
        priors: Boxes of all levels, shape (N, 4).
        num_level_priors: Number of priors of each level.
        featmap_sizes: Rows and columns of each level; None reads them from
            the priors, which synchronises a GPU.

    Raises:
        ValueError: A level is not a grid with the same number of priors at
            each location.
    """
    levels = [
        (_Locations.of(level), level)
        for level in priors.split(list(num_level_priors))
        if len(level)
    ]
    if featmap_sizes is None:
        pairs = _read_counts([locations for locations, _ in levels])
    else:
        pairs = [
            (size // (rows * columns), size // rows)
            for size, (rows, columns) in zip(
                num_level_priors, featmap_sizes, strict=True
            )
            if size
        ]
    found, start = [], 0
    for (locations, level), (per_location, per_row) in zip(
        levels, pairs, strict=True
    ):
        if per_row % per_location or len(level) % per_row:
            raise ValueError(
                f'A level of {len(level)} priors is not a grid: it has '
                f'{per_location} at the first location and {per_row} in the '
                'first row. Keep all priors with `allowed_border=-1`'
            )
        first = level[:per_location]
        found.append(
            Grid(
                start,
                first[:, 2:4] - first[:, :2],
                locations.centre[:per_row:per_location, 0].contiguous(),
                locations.centre[::per_row, 1].contiguous(),
            )
        )
        start += len(level)
    return found


def _read_counts(levels: Sequence[_Locations]) -> list[tuple[int, int]]:
    """Priors at the first location and in the first row of each level."""
    counts = []
    for locations in levels:
        y = locations.centre[:, 1]
        same_row = (y - y[0]).abs() <= locations.slack[0]
        counts += [
            locations.at_first().sum(),
            same_row.long().cumprod(dim=0).sum(),
        ]
    # One read for all levels.
    pairs = torch.stack(counts).view(-1, 2).tolist()
    return [(per_location, per_row) for per_location, per_row in pairs]


def _unreadable() -> ValueError:
    return ValueError(
        'Cannot read the sizes of the levels from these priors: they must run '
        'from fine to coarse levels, be neither clipped nor filtered '
        '(`allowed_border=-1`) and start with a level of several locations. '
        'Pass `num_level_priors` instead'
    )


def priors_per_location(
    priors: Tensor, num_level_priors: Sequence[int]
) -> list[int]:
    """Read the number of anchors per location of each level.

    Args:
        priors: Boxes of all levels, shape (N, 4).
        num_level_priors: Number of priors of each level, above 0.

    Raises:
        ValueError: A level cannot have the same number at each location.
    """
    counts = torch.stack(
        [
            _Locations.of(level).at_first().sum()
            for level in priors.split(list(num_level_priors))
        ]
    ).tolist()
    for size, count in zip(num_level_priors, counts, strict=True):
        if size % count:
            raise ValueError(
                f'A level of {size} priors has {count} at its first location. '
                '`topk_per_location` needs the same number at each, which '
                '`allowed_border=-1` keeps'
            )
    return counts

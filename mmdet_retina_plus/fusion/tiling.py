"""Large images seen tile by tile, and what was seen made one.

Windows are x1, y1, x2, y2 in whole pixels of the image, x2 and y2 exclusive.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from mmcv.ops import batched_nms
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_retina_plus.kernels.weighted_box_clustering import (
    best_members,
    weighted_box_clustering,
)

from .patch_weight import gaussian_patch_weight, plateau_patch_weight

PATCH_WEIGHTS: dict[str, Callable[[Tensor, tuple[int, int]], Tensor]] = dict(
    gaussian=gaussian_patch_weight, plateau=plateau_patch_weight
)


def tile_windows(
    image_shape: tuple[int, int], tile: int, overlap: float = 0.25
) -> Tensor:
    """Square windows of equal size that cover an image.

    A last row or column that would reach beyond the image moves inwards. Along
    an axis that is shorter than a tile, the windows have the image's length.

    Args:
        image_shape: Height and width.
        tile: Side in pixels.
        overlap: Share of a tile that its neighbour covers too, in [0, 1); in
            whole pixels rounded down, and more of the last tile.

    Returns:
        Windows row by row, int64 of shape (t, 4).

    Raises:
        ValueError: There is no tile of this size or overlap.
    """
    if tile < 1:
        raise ValueError(f'A tile has at least 1 pixel, not {tile}')
    if not 0 <= overlap < 1:
        raise ValueError(f'overlap must be in [0, 1), not {overlap}')
    stride = max(tile - int(tile * overlap), 1)
    rows, columns = (
        torch.tensor([*range(0, side - tile, stride), max(side - tile, 0)])
        for side in image_shape
    )
    y, x = torch.meshgrid(rows, columns, indexing='ij')
    corner = torch.stack([x, y], dim=-1).reshape(-1, 2)
    height, width = (min(side, tile) for side in image_shape)
    return torch.cat([corner, corner + torch.tensor([width, height])], dim=1)


def coverage_map(windows: Tensor, image_shape: tuple[int, int]) -> Tensor:
    """How many windows (t, 4) cover each pixel, int64 of `image_shape`."""
    height, width = image_shape
    corners = windows.new_zeros(height + 1, width + 1, dtype=torch.int64)
    one = corners.new_ones(())
    x1, y1, x2, y2 = windows.unbind(dim=1)
    for y, x, sign in ((y1, x1, 1), (y2, x2, 1), (y1, x2, -1), (y2, x1, -1)):
        corners.index_put_((y, x), sign * one, accumulate=True)
    return corners.cumsum(dim=0).cumsum(dim=1)[:height, :width]


def mean_coverage(
    boxes: Tensor, windows: Tensor, image_shape: tuple[int, int]
) -> Tensor:
    """Mean of the coverage map over the pixels that a box touches.

    Counted by rows and columns of windows: the map of an image of 20,000
    pixels square, which is what tiles are for, would take 3 GB.

    Args:
        boxes: Shape (n, 4). One that lies outside of the image, or touches no
            pixel, counts as the pixel next to it.
        windows: Shape (t, 4).
        image_shape: Height and width.

    Returns:
        Shape (n,), in double precision.
    """
    limit = torch.tensor(image_shape[::-1], device=boxes.device)
    corners = boxes.double()
    low = corners[:, :2].floor().clamp(min=0).minimum(limit - 1)
    high = corners[:, 2:].ceil().maximum(low + 1).minimum(limit)
    # The windows of a grid are far more than its rows and columns.
    columns, x = windows[:, ::2].unique(dim=0, return_inverse=True)
    rows, y = windows[:, 1::2].unique(dim=0, return_inverse=True)
    times = low.new_zeros(len(rows), len(columns))
    times.index_put_((y, x), times.new_ones(()), accumulate=True)
    wide = _shared_lengths(low[:, 0], high[:, 0], columns.to(low))
    tall = _shared_lengths(low[:, 1], high[:, 1], rows.to(low))
    covered = (tall @ times * wide).sum(dim=1)
    return covered / (high - low).prod(dim=1)


def _shared_lengths(low: Tensor, high: Tensor, spans: Tensor) -> Tensor:
    """What n boxes share with spans (s, 2) along an axis, shape (n, s)."""
    shared = high[:, None].minimum(spans[:, 1])
    return (shared - low[:, None].maximum(spans[:, 0])).clamp(min=0)


def shift_boxes(boxes: Tensor, window: Tensor) -> Tensor:
    """Boxes (n, 4) of a window (4,) in the coordinates of its image."""
    return boxes + window[:2].to(boxes).repeat(2)


def merge_tiles(
    views: Sequence[InstanceData],
    windows: Tensor,
    image_shape: tuple[int, int],
    fuse: Literal['wbc', 'nms'] = 'wbc',
    patch_weight: str | None = 'gaussian',
    **options,
) -> InstanceData:
    """One result of all views of an image; a single view is its own.

    Models that look at the same windows, and mirrored looks, give that many
    views of each.
    A box at the border of a tile, where its object may be cut, weighs little
    next to one from a centre. Left alone, for want of IoU with any box of the
    whole object, it scores less by the views that should have found it.

    A mask is none of the mean: a merged box has that of the best box in its
    cluster that has one.

    Args:
        views: Each view's `bboxes` in its window's coordinates, `scores` and
            `labels`; perhaps `masks`, a list of any values for masks in the
            image's coordinates, None for a box without one.
        windows: Windows of the views, shape (v, 4).
        image_shape: Height and width.
        fuse: How.
        patch_weight: Key of `PATCH_WEIGHTS`, for 'wbc'. None, or a window that
            is the whole image: 1.
        options: Arguments of `weighted_box_clustering`, or of mmcv's `nms`.

    Returns:
        `bboxes` in the image's coordinates, `scores` and `labels`, by falling
        score, and `masks` if all views have them.
    """
    labels = torch.cat([view.labels for view in views])
    scores = torch.cat([view.scores for view in views])
    boxes = torch.cat(
        [
            shift_boxes(view.bboxes, window)
            for view, window in zip(views, windows, strict=True)
        ]
    )
    masks = [mask for view in views for mask in view.get('masks', ())]

    def carry(index: Tensor) -> dict[str, list]:
        if not all('masks' in view for view in views):
            return {}
        return dict(masks=[masks[i] for i in index.tolist()])

    if len(views) == 1 or not len(boxes):
        order = scores.argsort(descending=True, stable=True)
        return InstanceData(
            bboxes=boxes[order],
            scores=scores[order],
            labels=labels[order],
            **carry(order),
        )
    if fuse == 'nms':
        nms = dict(type='nms', iou_threshold=0.5) | options
        kept, order = batched_nms(boxes, scores, labels, nms)
        return InstanceData(
            bboxes=kept[:, :4],
            scores=kept[:, 4],
            labels=labels[order],
            **carry(order),
        )
    clusters = weighted_box_clustering(
        boxes,
        scores,
        labels,
        view_ids=view_ids(views),
        patch_weight=torch.cat(
            [
                tile_weights(view.bboxes, window, image_shape, patch_weight)
                for view, window in zip(views, windows, strict=True)
            ]
        ),
        n_expected=mean_coverage(boxes, windows, image_shape),
        **options,
    )
    preference = scores
    if len(masks) == len(scores):
        has_mask = [mask is not None for mask in masks]
        preference = scores.where(torch.tensor(has_mask), -1)
    best = best_members(clusters.cluster_ids, preference, len(clusters.scores))
    return InstanceData(
        bboxes=clusters.boxes,
        scores=clusters.scores,
        labels=clusters.labels,
        **carry(best),
    )


def view_ids(views: Sequence[InstanceData]) -> Tensor:
    """Number of the view that each of the joined instances is from."""
    ids = torch.arange(len(views), device=views[0].scores.device)
    return ids.repeat_interleave(ids.new_tensor(list(map(len, views))))


def tile_weights(
    boxes: Tensor,
    window: Tensor,
    image_shape: tuple[int, int],
    kind: str | None,
) -> Tensor:
    """Patch weights (n,) of a window's boxes (n, 4) in its coordinates."""
    x1, y1, x2, y2 = window.tolist()
    patch_shape = (y2 - y1, x2 - x1)
    if kind is None or patch_shape == tuple(image_shape):
        return boxes.new_ones(len(boxes))
    return PATCH_WEIGHTS[kind](boxes, patch_shape)

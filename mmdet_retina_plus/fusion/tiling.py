"""Split large images into tiles and merge the results of the tiles.

Windows are x1, y1, x2, y2 in integer pixels of the image, x2 and y2 exclusive.
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

    The last row and column move inwards to end at the image border. Along an
    axis shorter than a tile, windows have the length of the image.

    Args:
        image_shape: Height and width.
        tile: Side in pixels.
        overlap: Fraction of a tile that its neighbour also covers, in [0, 1);
            rounded down to pixels, and more for the last tile.

    Returns:
        Windows row by row, int64 of shape (t, 4).

    Raises:
        ValueError: ``tile`` or ``overlap`` is out of its range.
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
    """Count the windows (t, 4) that cover each pixel, (H, W) int64."""
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
    """Average the coverage map over the pixels that a box touches.

    Computed from rows and columns of windows: the map of an image of 20,000 x
    20,000 pixels would take 3 GB.

    Args:
        boxes: Shape (n, 4). A box that lies outside the image or touches no
            pixel counts as the nearest pixel.
        windows: Shape (t, 4).
        image_shape: Height and width.

    Returns:
        Shape (n,), in double precision.
    """
    limit = torch.tensor(image_shape[::-1], device=boxes.device)
    corners = boxes.double()
    low = corners[:, :2].floor().clamp(min=0).minimum(limit - 1)
    high = corners[:, 2:].ceil().maximum(low + 1).minimum(limit)
    # A grid has far more windows than rows and columns.
    columns, x = windows[:, ::2].unique(dim=0, return_inverse=True)
    rows, y = windows[:, 1::2].unique(dim=0, return_inverse=True)
    times = low.new_zeros(len(rows), len(columns))
    times.index_put_((y, x), times.new_ones(()), accumulate=True)
    wide = _shared_lengths(low[:, 0], high[:, 0], columns.to(low))
    tall = _shared_lengths(low[:, 1], high[:, 1], rows.to(low))
    covered = (tall @ times * wide).sum(dim=1)
    return covered / (high - low).prod(dim=1)


def _shared_lengths(low: Tensor, high: Tensor, spans: Tensor) -> Tensor:
    """Overlap of n boxes with spans (s, 2) along an axis, shape (n, s)."""
    shared = high[:, None].minimum(spans[:, 1])
    return (shared - low[:, None].maximum(spans[:, 0])).clamp(min=0)


def shift_boxes(boxes: Tensor, window: Tensor) -> Tensor:
    """Move boxes (n, 4) of a window (4,) to coordinates of the image."""
    return boxes + window[:2].to(boxes).repeat(2)


def merge_tiles(
    views: Sequence[InstanceData],
    windows: Tensor,
    image_shape: tuple[int, int],
    fuse: Literal['wbc', 'nms'] = 'wbc',
    patch_weight: str | None = 'gaussian',
    **options,
) -> InstanceData:
    """Merge all views of an image; a single view is returned unchanged.

    A window may have several views, from several models or mirrored images.
    A box at the border of a tile, where its object may be cut, has a lower
    weight than one at the centre. If it does not overlap a box of the whole
    object enough to be merged, its score is lowered by the views that should
    have found it.

    Masks are not averaged: a merged box has the mask of the best box in its
    cluster that has one.

    Args:
        views: `bboxes` in coordinates of the window, `scores` and `labels` of
            each view; optionally `masks`, a list of arbitrary values, None for
            a box without a mask.
        windows: Windows of the views, shape (v, 4).
        image_shape: Height and width.
        fuse: Method.
        patch_weight: Key of `PATCH_WEIGHTS`, for 'wbc'; None for equal
            weights. A window of the whole image has equal weights too.
        options: Arguments of `weighted_box_clustering` or of mmcv's `nms`.

    Returns:
        `bboxes` in coordinates of the image, `scores` and `labels`, by
        descending score, and `masks` if all views have them.
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
    """Index of the view of each of the joined instances."""
    ids = torch.arange(len(views), device=views[0].scores.device)
    return ids.repeat_interleave(ids.new_tensor(list(map(len, views))))


def tile_weights(
    boxes: Tensor,
    window: Tensor,
    image_shape: tuple[int, int],
    kind: str | None,
) -> Tensor:
    """Patch weights (n,) of boxes (n, 4) in coordinates of their window."""
    x1, y1, x2, y2 = window.tolist()
    patch_shape = (y2 - y1, x2 - x1)
    if kind is None or patch_shape == tuple(image_shape):
        return boxes.new_ones(len(boxes))
    return PATCH_WEIGHTS[kind](boxes, patch_shape)

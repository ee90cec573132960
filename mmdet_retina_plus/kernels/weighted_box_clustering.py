"""Weighted box clustering: merge boxes of many views instead of dropping them.

Retina U-Net, https://arxiv.org/abs/1811.08661. Its released code is the
medicaldetectiontoolkit (``predictor.py``), followed by nnDetection
(``inference/detection/wbc.py``); ``WBC_PRESETS`` has their settings.
"""

from math import isfinite
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .boxes import coordinates
from .clustering_nms import find_leaders, scale_free_iou

WBC_PRESETS: dict[str, dict] = dict(
    # The paper names no threshold.
    paper=dict(
        iou_thr=0.5,
        use_area=True,
        pixel_offset=0,
        score_floor=0.0,
        missing_weight=1.0,
        count='views',
    ),
    mdt=dict(
        iou_thr=1e-5,
        use_area=True,
        pixel_offset=1,
        score_floor=0.01,
        missing_weight=1.0,
        count='views',
    ),
    nndetection=dict(
        iou_thr=0.5,
        use_area=False,
        pixel_offset=0,
        score_floor=0.0,
        missing_weight=1.0,
        count='boxes',
    ),
)
"""Arguments of the paper, the medicaldetectiontoolkit and nnDetection."""


class BoxClusters(NamedTuple):
    """Result of ``weighted_box_clustering`` on N boxes.

    Attributes:
        boxes: Merged boxes, shape (M, 4), by descending score.
        scores: Shape (M,).
        labels: Shape (M,).
        cluster_ids: Row of the merged box of each input box, -1 if its cluster
            was not kept, shape (N,). Use it to carry masks and keypoints over.
        found: Number of views, or boxes, that contributed, shape (M,).
        missing: Number of further expected views, or boxes, shape (M,).
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    cluster_ids: Tensor
    found: Tensor
    missing: Tensor


@torch.no_grad()
def weighted_box_clustering(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    view_ids: Tensor | None = None,
    patch_weight: Tensor | None = None,
    n_expected: Tensor | float | None = None,
    iou_thr: float = 0.5,
    use_area: bool = True,
    pixel_offset: float = 0,
    score_floor: float = 0.01,
    missing_weight: float = 1.0,
    count: Literal['views', 'boxes'] = 'views',
) -> BoxClusters:
    """Merge the boxes of several views of an image.

    Within a class, the box of the highest score leads a cluster of all boxes
    whose IoU with it is above ``iou_thr``. The best of the remaining boxes
    leads the next cluster. A box has the weight w = IoU with its leader * area
    * patch weight. With scores s and n boxes, a cluster has the

    - coordinates sum(coordinates * s * w) / sum(s * w) and the
    - score sum(s * w) / sum(w) * n / (n + missing_weight * missing), which is
      the paper's sum(s * w) / (sum(w) + missing * mean(w)).

    Equal scores keep their order, and results are reproducible bit for bit. If
    all weights or all scores are 0, only the leader counts.

    Args:
        boxes: Shape (N, 4), x1, y1, x2, y2. A box without extent has area 0
            and is its own cluster. Half precision is computed in single.
        scores: Shape (N,), not negative.
        labels: Shape (N,), integers.
        view_ids: View of each box, integers (N,). A view is a combination of
            checkpoint, augmentation and tile. None: each box is its own view.
        patch_weight: Weight of each box by its position in the tile, such as
            ``gaussian_patch_weight``, shape (N,). None: 1.
        n_expected: How many views (or boxes, see ``count``) should have found
            the box, shape (N,) or one number. A cluster takes the mean. None:
            nothing is missing, whatever ``view_ids``.
        iou_thr: From 0 to 1.
        use_area: Whether large boxes weigh more.
        pixel_offset: 1 if x2 and y2 are the last pixel of a box, as in the
            medicaldetectiontoolkit.
        score_floor: Keep clusters that score above this. To keep a cluster
            that scores 0, use a negative floor.
        missing_weight: Weight of a missing view.
        count: Whether two boxes of one view in a cluster count once,
            ``'views'``, or twice, ``'boxes'``, as in nnDetection.

    Returns:
        Clusters, in the precision of the given boxes and scores.

    Raises:
        ValueError: An argument has the wrong shape or type, is not finite, or
            is negative.
    """
    _check_options(iou_thr, pixel_offset, score_floor, missing_weight, count)
    _check_boxes(boxes, scores, labels, view_ids)
    precision = torch.promote_types(boxes.dtype, scores.dtype)
    precision = torch.promote_types(precision, torch.float32)
    xyxy, s = boxes.to(precision), scores.to(precision)
    p = _per_box('patch_weight', patch_weight, 1, s)
    expected = _per_box('n_expected', n_expected, 0, s)
    coords = coordinates(xyxy, pixel_offset)
    if not (coords[4] * p).sum().isfinite():
        raise ValueError(
            f'Areas of boxes or patch weights are too large for {precision}'
        )

    clusters = _Clusters.of(coords, s, labels, iou_thr)
    weight = p * coords[4] if use_area else p
    means, score = _weighted_means(clusters, xyxy, s, coords, weight)
    found = clusters.size
    if view_ids is not None and count == 'views':
        found = clusters.distinct(view_ids)
    expected = clusters.total(expected[clusters.box]) / clusters.size
    missing = (expected - found).clamp(min=0)
    score *= clusters.size / (clusters.size + missing_weight * missing)

    by_score = score.argsort(descending=True, stable=True)
    kept = by_score[score[by_score] > score_floor]
    row = torch.full_like(clusters.top, -1)
    row[kept] = torch.arange(len(kept), device=row.device)
    cluster_ids = torch.empty_like(clusters.box)
    cluster_ids[clusters.box] = clusters.spread(row)
    return BoxClusters(
        means[kept].to(boxes.dtype),
        score[kept].to(scores.dtype),
        labels[clusters.top[kept]],
        cluster_ids,
        found[kept],
        missing[kept].to(scores.dtype),
    )


def best_members(cluster_ids: Tensor, scores: Tensor, count: int) -> Tensor:
    """Index of each cluster's best box, on ties the first.

    Args:
        cluster_ids: Cluster of each box, -1 for none, shape (N,).
        scores: Shape (N,); higher is better.
        count: Number of clusters, none of them empty.

    Returns:
        Shape (count,).
    """
    order = scores.argsort(descending=True, stable=True)
    order = order[cluster_ids[order] >= 0]
    rank = torch.arange(len(order), device=order.device)
    first = torch.full_like(rank[:1], len(order)).repeat(count)
    first.scatter_reduce_(0, cluster_ids[order], rank, 'amin')
    return order[first]


class _Clusters(NamedTuple):
    """C clusters of N boxes.

    Attributes:
        top: Leader of each cluster, by descending score, shape (C,).
        size: Number of boxes of each cluster, shape (C,).
        box: Indices of boxes by cluster, then by descending score, shape (N,).
        cluster: Clusters of ``box``, ascending, shape (N,).
    """

    top: Tensor
    size: Tensor
    box: Tensor
    cluster: Tensor

    @classmethod
    def of(
        cls, coords: Tensor, scores: Tensor, labels: Tensor, iou_thr: float
    ) -> '_Clusters':
        by_score = scores.argsort(descending=True, stable=True)
        leader = find_leaders(coords[:, by_score], labels[by_score], iou_thr)
        leads = leader == torch.arange(len(leader), device=leader.device)
        cluster, order = (leads.cumsum(0) - 1)[leader].sort(stable=True)
        top = by_score[leads]
        size = cluster.bincount(minlength=len(top))
        return cls(top, size, by_score[order], cluster)

    def spread(self, values: Tensor) -> Tensor:
        """Repeat values of clusters (C, ...) for their boxes, (N, ...)."""
        return values[self.cluster]

    def total(self, values: Tensor) -> Tensor:
        """Sum values (N, ...) in the order of ``box`` by cluster, (C, ...).

        index_add_ adds in no fixed order on a GPU, so its last bits differ
        from run to run.
        """
        return torch.segment_reduce(
            values, 'sum', lengths=self.size, axis=0, unsafe=True
        )

    def distinct(self, ids: Tensor) -> Tensor:
        """Count the distinct ids (N,) of the boxes in each cluster."""
        known, number = ids.unique(return_inverse=True)
        pairs = self.cluster * len(known) + number[self.box]
        cluster = pairs.unique() // max(len(known), 1)
        return cluster.bincount(minlength=len(self.top))


def _weighted_means(
    clusters: _Clusters,
    boxes: Tensor,
    scores: Tensor,
    coords: Tensor,
    weight: Tensor,
) -> tuple[Tensor, Tensor]:
    """Boxes (C, 4) and scores (C,) of clusters if no view is missing.

    Args:
        clusters: Clusters of the N boxes.
        boxes: Shape (N, 4).
        scores: Shape (N,).
        coords: Coordinates (5, N) of the boxes for their IoU.
        weight: Weight of each box without its IoU with the leader, shape (N,).
    """
    top, total, box = clusters.top, clusters.total, clusters.box
    # From here on, values of boxes are in the order of `clusters.box`.
    leader = clusters.spread(top)
    weight = weight[box]
    overlap = scale_free_iou(coords[:, box], coords[:, leader])
    weight *= overlap.where(box != leader, 1)
    weighty = clusters.spread(total(weight)) > 0
    weight = weight.where(weighty, (box == leader).to(weight))
    share = weight / clusters.spread(total(weight))
    pull = share * scores[box]
    # Only rounding can exceed the highest score.
    score = total(pull).minimum(scores[top])
    tiny = torch.finfo(scores.dtype).tiny
    pull = pull / clusters.spread(total(pull).clamp(min=tiny))
    # Relative to the leader, so that a single box does not change by a bit.
    shift = total(pull[:, None] * (boxes[box] - boxes[leader]))
    return boxes[top] + shift, score


def _check_options(
    iou_thr: float,
    pixel_offset: float,
    score_floor: float,
    missing_weight: float,
    count: str,
) -> None:
    if not 0 <= iou_thr <= 1:
        raise ValueError(f'iou_thr must be from 0 to 1, not {iou_thr}')
    for name, value in (
        ('pixel_offset', pixel_offset),
        ('missing_weight', missing_weight),
    ):
        if not (isfinite(value) and value >= 0):
            raise ValueError(f'{name} must be 0 or more, not {value}')
    if not isfinite(score_floor):
        raise ValueError(
            f'score_floor must be finite, not {score_floor}: use -1 to keep '
            'all clusters'
        )
    if count not in ('views', 'boxes'):
        raise ValueError(f"count must be 'views' or 'boxes', not {count!r}")


def _check_boxes(
    boxes: Tensor, scores: Tensor, labels: Tensor, view_ids: Tensor | None
) -> None:
    if boxes.dim() != 2 or boxes.size(1) != 4:
        raise ValueError(
            f'Boxes must have shape (N, 4), not {tuple(boxes.shape)}: '
            'pass the boxes of one image as x1, y1, x2, y2'
        )
    for name, values in (('Boxes', boxes), ('Scores', scores)):
        if not values.is_floating_point():
            raise ValueError(
                f'{name} must be floating point, not {values.dtype}: '
                'call .float() on them'
            )
        if not values.isfinite().all():
            raise ValueError(
                f'{name} must be finite, found NaN or infinity: select boxes '
                'by `boxes.isfinite().all(dim=1) & scores.isfinite()`'
            )
    if (scores < 0).any():
        raise ValueError(
            'Scores must not be negative: take the sigmoid of logits'
        )
    integers = dict(labels=labels)
    if view_ids is not None:
        integers['view_ids'] = view_ids
    for name, values in integers.items():
        if values.is_floating_point():
            raise ValueError(
                f'{name} must be integers, not {values.dtype}: '
                'call .long() on them'
            )
    for name, values in dict(scores=scores, **integers).items():
        if values.shape != boxes.shape[:1]:
            raise ValueError(
                f'{name} must have shape ({len(boxes)},), one for each box, '
                f'not {tuple(values.shape)}'
            )


def _per_box(
    name: str, values: Tensor | float | None, default: float, scores: Tensor
) -> Tensor:
    """Convert values to (N,) in the precision of the scores."""
    values = torch.as_tensor(
        default if values is None else values,
        dtype=scores.dtype,
        device=scores.device,
    )
    if values.dim() and values.shape != scores.shape:
        raise ValueError(
            f'{name} must be one number or have shape ({len(scores)},), '
            f'not {tuple(values.shape)}'
        )
    if not (values.isfinite() & (values >= 0)).all():
        raise ValueError(f'{name} must be finite and not negative')
    return values.expand_as(scores)

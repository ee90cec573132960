"""SAPD's head: anchor points with soft weights within and between levels.

SAPD: https://arxiv.org/abs/1911.12448
"""

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import AnchorFreeHead
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import (
    ConfigType,
    InstanceList,
    OptInstanceList,
    OptMultiConfig,
    reduce_mean,
)
from torch import Tensor

from mmdet_retina_plus.common.training_phase import training_progress

from .anchor_points import (
    PositivePoints,
    centrality,
    find_positive_points,
    side_distances,
)
from .level_selector import LevelSelector
from .retina_plus_head import check_ground_truth, join_levels

NO_POINTS = 1e7
"""Loss of a level on which no positive point lies in the object."""

FOCAL_LOSS = dict(type='FusedFocalLoss', use_sigmoid=True)
IOU_LOSS = dict(type='IoULoss', mode='log')
META_LOSS = dict(type='CrossEntropyLoss', loss_weight=0.1)
INIT = dict(
    type='Normal',
    layer='Conv2d',
    std=0.01,
    override=[
        dict(type='Normal', name='conv_cls', std=0.01, bias_prob=0.01),
        # A ReLU that starts at 0 would stay there.
        dict(type='Normal', name='conv_reg', std=0.01, bias=0.1),
    ],
)


@MODELS.register_module()
class SAPDHead(AnchorFreeHead):
    """RetinaNet's towers with one point per cell, trained with soft weights.

    The points in an object's shrunk box are positive on every level. The
    weight of a point is its centrality in the box times the weight of its
    level for the object. At first the level of lowest loss has weight 1 and
    the others 0, as in FSAF; after ``soft_start`` the weights come from
    ``LevelSelector``, which is trained from the start to find the level of
    lowest loss. A positive point of weight 0 is ignored, not background. The
    losses are divided by the sum of the positives' weights over the batch,
    averaged over all processes.

    A cell whose point lies outside the box has centrality 0 and does not count
    for the loss of its level. An object that contains no point on any level
    trains neither class, box nor selector. With strides from 8 on, this holds
    for a third of the objects of 6 pixels.

    The predicted distances to the box's sides are ReLUs in units of
    ``normalizer`` strides. Ignore regions have no effect, as in FCOSHead.
    The following is not in the paper, or the Keras port
    (https://github.com/xuannianz/SAPD) differs:

    - ``topk`` and ``soft_start``: notes on a second implementation mention
      three levels and a switch after 6 of 12 epochs. The port keeps all levels
      and has no schedule.
    - ``detach_weights``: the port lets the detection loss train the selector
      as well, which can lower the loss by preferring easy levels.
    - ``whole_cells``: the port includes every cell that a shrunk box touches.

    Args:
        args: See ``AnchorFreeHead``.
        shrink_factor: Ratio of the sides of the shrunk box to those of the
            box.
        eta: Exponent of the centrality.
        normalizer: Strides per unit of the regression.
        whole_cells: Whether cells that the shrunk box only touches are
            positive.
        soft_start: Fraction of the training before soft weights are used. The
            progress is read from mmengine's MessageHub, which a resumed run
            restores; without a runner it is 0.
        topk: Number of levels that keep their soft weight; None for all.
        detach_weights: Stop the detection loss from training the selector.
        loss_meta: Loss of the selector.
        kwargs: See ``AnchorFreeHead``.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        *args,
        strides: Sequence[int] = (8, 16, 32, 64, 128),
        shrink_factor: float = 0.2,
        eta: float = 1.0,
        normalizer: float = 4.0,
        whole_cells: bool = False,
        soft_start: float = 0.5,
        topk: int | None = 3,
        detach_weights: bool = True,
        loss_cls: ConfigType = FOCAL_LOSS,
        loss_bbox: ConfigType = IOU_LOSS,
        loss_meta: ConfigType = META_LOSS,
        init_cfg: OptMultiConfig = INIT,
        **kwargs,
    ) -> None:
        super().__init__(
            *args,
            strides=strides,
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            init_cfg=init_cfg,
            **kwargs,
        )
        check_options(shrink_factor, soft_start, topk, len(strides))
        if not self.use_sigmoid_cls:
            raise ValueError(
                'SAPDHead has no background channel: set use_sigmoid=True in '
                'loss_cls'
            )
        self.shrink_factor = shrink_factor
        self.eta = eta
        self.normalizer = normalizer
        self.whole_cells = whole_cells
        self.soft_start = soft_start
        self.topk = topk
        self.detach_weights = detach_weights
        self.loss_meta = MODELS.build(loss_meta)
        self.selector = LevelSelector(
            self.in_channels, strides, self.feat_channels
        )

    def forward(self, x: Sequence[Tensor]) -> tuple[list, list]:
        """Compute logits (N, C, H, W) and distances (N, 4, H, W) per level.

        Distances to the left, top, right and bottom side are in pixels and at
        least in single precision: float16 overflows at 65504 pixels, and
        bfloat16 has steps of 2 above 256.
        """
        cls_scores, bbox_preds = super().forward(x)
        return cls_scores, [
            pred.to(torch.promote_types(pred.dtype, torch.float32)).relu()
            * (self.normalizer * stride)
            for pred, stride in zip(bbox_preds, self.strides, strict=True)
        ]

    def loss(
        self, x: Sequence[Tensor], batch_data_samples: SampleList
    ) -> dict:
        gt_instances, ignored, metas = unpack_gt_instances(batch_data_samples)
        check_ground_truth(gt_instances, self.num_classes)
        cls_scores, bbox_preds = self(x)
        return self.loss_by_feat(
            cls_scores,
            bbox_preds,
            gt_instances,
            metas,
            ignored,
            level_logits=self.selector(x, gt_instances),
        )

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
        level_logits: Tensor | None = None,
    ) -> dict:
        """Compute the losses of the points and ``loss_meta`` of the selector.

        Args:
            cls_scores, bbox_preds: Output of ``forward``.
            batch_gt_instances: Ground truth of each image.
            batch_img_metas, batch_gt_instances_ignore: Not used.
            level_logits: Logits of the level selector, shape (G, L).

        Raises:
            ValueError: ``level_logits`` is missing; mmdet's
                ``loss_and_predict`` cannot pass it.
        """
        if level_logits is None:
            raise ValueError(
                'SAPDHead needs the pyramid to compute its loss, which '
                'loss_and_predict does not pass: use it without a roi_head'
            )
        sizes = [(score.size(2), score.size(3)) for score in cls_scores]
        targets = self.get_targets(sizes, batch_gt_instances)
        scores = join_levels(cls_scores, self.cls_out_channels).flatten(0, 1)
        distances = join_levels(bbox_preds, 4).flatten(0, 1)
        gt_labels = torch.cat([gt.labels for gt in batch_gt_instances])
        gt_bboxes = all_boxes(batch_gt_instances)

        # Background separately: each positive needs its own loss.
        labels = gt_labels.new_full((len(scores),), self.num_classes)
        is_background = scores.new_ones(len(scores))
        is_background[targets.points] = 0
        background = self.loss_cls(
            scores, labels, is_background, reduction_override='sum'
        )
        loss_cls = self.loss_cls(
            scores[targets.points],
            gt_labels[targets.gts],
            reduction_override='none',
        ).sum(dim=1)
        points = self.points_of(targets, sizes, distances)
        true_distances = side_distances(points, gt_bboxes[targets.gts])
        loss_bbox = self.loss_bbox(
            self.bbox_coder.decode(points, distances[targets.points]),
            self.bbox_coder.decode(points, true_distances),
            reduction_override='none',
        )

        weights = centrality(true_distances, self.eta)
        level_losses = mean_by_level(
            (loss_cls + loss_bbox).detach(),
            targets,
            weights > 0,
            level_logits.shape,
        )
        best = level_losses.argmin(dim=1)
        weights = weights * self.weigh_levels(level_logits, best)[
            targets.gts, targets.levels
        ].to(weights)
        total = reduce_mean(weights.detach().sum())
        # An object may contain no point, or smaller ones have taken them.
        has_points = (level_losses < NO_POINTS).any(dim=1).to(weights)
        # mmdet's IoU loss without boxes has no graph, and other processes
        # would hang in the all-reduce.
        no_boxes = distances[:0].sum()
        return dict(
            loss_cls=weighted_mean(background, loss_cls, weights, total),
            loss_bbox=weighted_mean(no_boxes, loss_bbox, weights, total),
            loss_meta=self.loss_meta(
                level_logits,
                best,
                has_points,
                avg_factor=reduce_mean(has_points.sum()).clamp(min=1),
            ),
        )

    def get_targets(
        self,
        featmap_sizes: Sequence[tuple[int, int]],
        batch_gt_instances: InstanceList,
    ) -> PositivePoints:
        """Find the positive points of the batch.

        Args:
            featmap_sizes: (H, W) of each level.
            batch_gt_instances: Ground truth of each image.
        """
        counts = [len(gt) for gt in batch_gt_instances]
        bboxes = all_boxes(batch_gt_instances)
        images = torch.arange(len(counts)).repeat_interleave(
            torch.tensor(counts)
        )
        return find_positive_points(
            bboxes,
            images.to(bboxes.device),
            len(counts),
            featmap_sizes,
            self.strides,
            self.shrink_factor,
            self.whole_cells,
        )

    def points_of(
        self,
        targets: PositivePoints,
        featmap_sizes: Sequence[tuple[int, int]],
        like: Tensor,
    ) -> Tensor:
        """Positive points (x, y) in pixels, shape (M, 2)."""
        grid = torch.cat(
            self.prior_generator.grid_priors(
                featmap_sizes, dtype=like.dtype, device=like.device
            )
        )
        return grid[targets.points % len(grid)]

    def weigh_levels(self, level_logits: Tensor, best: Tensor) -> Tensor:
        """Compute the weight of each level for each object, shape (G, L).

        Args:
            level_logits: Logits of the level selector, shape (G, L).
            best: Level of lowest loss, shape (G,).
        """
        if training_progress() < self.soft_start:
            weights = torch.ones_like(level_logits)
            chosen = best.unsqueeze(1)
        else:
            weights = level_logits.float().softmax(dim=1)
            if self.detach_weights:
                weights = weights.detach()
            number = self.topk or level_logits.size(1)
            chosen = weights.topk(number, dim=1).indices
        return weights * torch.zeros_like(weights).scatter(1, chosen, 1)


def check_options(
    shrink_factor: float, soft_start: float, topk: int | None, num_levels: int
) -> None:
    """Refuse options of ``SAPDHead`` that are out of their range."""
    if not 0 < shrink_factor <= 1:
        raise ValueError(
            f'shrink_factor={shrink_factor} does not shrink the box: use a '
            'number above 0 and at most 1'
        )
    if not 0 <= soft_start <= 1:
        raise ValueError(
            f'soft_start={soft_start} is not a fraction of the training: use '
            '0 for soft weights from the start, 1 for none'
        )
    if topk is not None and not 1 <= topk <= num_levels:
        raise ValueError(
            f'topk={topk} of {num_levels} levels: use 1 to {num_levels}, or '
            'None for all'
        )


def all_boxes(batch_gt_instances: InstanceList) -> Tensor:
    """Join the boxes of all objects of the batch, shape (G, 4)."""
    return torch.cat([get_box_tensor(gt.bboxes) for gt in batch_gt_instances])


def mean_by_level(
    losses: Tensor, targets: PositivePoints, counted: Tensor, shape: torch.Size
) -> Tensor:
    """Compute the mean loss of each object's points on each level.

    It is ``NO_POINTS`` for a level without counted points of the object.

    Args:
        losses: Loss of each positive point, shape (M,).
        targets: The points.
        counted: Flags (M,) of points that can have a weight.
        shape: (G, L), shape of the result.
    """
    pairs = targets.gts * shape[1] + targets.levels
    ones = torch.ones_like(losses)
    terms = torch.stack([losses, ones], dim=1) * counted.unsqueeze(1)
    sums = losses.new_zeros(shape.numel(), 2).index_add(0, pairs, terms)
    total, count = sums.unbind(dim=1)
    return (total / count).masked_fill(count == 0, NO_POINTS).view(shape)


def weighted_mean(
    background: Tensor | float, losses: Tensor, weights: Tensor, total: Tensor
) -> Tensor:
    """Add background and weighted positive losses and normalise.

    Args:
        background: Loss summed over all background points.
        losses: Loss of each positive point, shape (M,).
        weights: Shape (M,).
        total: Sum of all positives' weights; the divisor is at least 1.
    """
    return (background + (weights * losses).sum()) / total.clamp(min=1)

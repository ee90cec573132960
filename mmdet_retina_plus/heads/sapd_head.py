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
    """RetinaNet's towers with one point per cell, trained by soft weights.

    The points in an object's shrunk box are positive on every level. A point
    weighs its centrality in the box times its level's weight for the object;
    in the first part of the training that is 1 for the level of least loss
    and 0 for the others, as in FSAF, and then what ``LevelSelector``, trained
    from the start to find the level of least loss, says. A positive point of
    weight 0 is ignored, not background. The losses are divided by the sum of
    the positives' weights over the batch, its mean over all processes.

    A cell whose point lies outside the box has centrality 0 and does not count
    for its level's loss. An object in which no level has a point, as a third
    of those of 6 pixels with strides from 8 on, trains nothing: no class, no
    box, no selector.

    The predicted distances to the box's sides are ReLUs in units of
    ``normalizer`` strides. Regions to ignore have no effect, as in FCOSHead.

    The paper leaves open, or the code that this follows decides otherwise:

    - ``topk`` and ``soft_start``: notes on a second implementation name three
      levels and the switch after 6 of 12 epochs. The Keras port
      (https://github.com/xuannianz/SAPD) keeps all levels and has no
      schedule.
    - ``detach_weights``: the port lets the detection loss train the selector
      as well, which can lower the loss by preferring easy levels.
    - ``whole_cells``: the port counts every cell that a shrunk box touches.

    Args:
        args: As ``AnchorFreeHead``.
        shrink_factor: Sides of the shrunk box over those of the box.
        eta: Exponent of the centrality.
        normalizer: Strides in one unit of the regression.
        whole_cells: Whether a cell is positive that the shrunk box only
            touches.
        soft_start: Fraction of the training that comes before the soft
            weights, read from mmengine's MessageHub, which a resumed run
            restores. Without a runner the training stands at its start.
        topk: Levels that keep their soft weight; None for all.
        detach_weights: Whether the detection loss does not train the
            selector.
        loss_meta: Loss of the selector.
        kwargs: As ``AnchorFreeHead``.

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
        """Logits (N, C, H, W) and distances (N, 4, H, W) of each level.

        Distances to the left, top, right and bottom side are in pixels, and
        in single precision at least: a float16 ends at 65504 pixels, and
        beyond 256 bfloat16 has steps of 2.
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
        """Losses of the points, and ``loss_meta`` of the selector.

        Args:
            cls_scores, bbox_preds: As ``forward`` returns them.
            batch_gt_instances: Ground truth of each image.
            batch_img_metas, batch_gt_instances_ignore: Not used.
            level_logits: Logits of the level selector, shape (G, L).

        Raises:
            ValueError: There are no logits; mmdet's ``loss_and_predict``
                cannot pass them.
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

        # The background first: of positive points each loss is needed.
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
        # No point may lie in an object, or smaller ones have taken them.
        has_points = (level_losses < NO_POINTS).any(dim=1).to(weights)
        # mmdet's IoU loss of no boxes has no graph, for which other processes
        # would wait.
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
        """Positive points of the batch.

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
        """Weight of each level for each object, shape (G, L).

        Args:
            level_logits: Logits of the level selector, shape (G, L).
            best: Level of least loss, shape (G,).
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
            f'shrink_factor={shrink_factor} leaves no box inside of the '
            'box: use a number above 0 and at most 1'
        )
    if not 0 <= soft_start <= 1:
        raise ValueError(
            f'soft_start={soft_start} is no fraction of the training: use 0 '
            'for soft weights from the start, 1 for none'
        )
    if topk is not None and not 1 <= topk <= num_levels:
        raise ValueError(
            f'topk={topk} of {num_levels} levels: use 1 to {num_levels}, or '
            'None for all'
        )


def all_boxes(batch_gt_instances: InstanceList) -> Tensor:
    """Boxes of all objects of the batch, shape (G, 4)."""
    return torch.cat([get_box_tensor(gt.bboxes) for gt in batch_gt_instances])


def mean_by_level(
    losses: Tensor, targets: PositivePoints, counted: Tensor, shape: torch.Size
) -> Tensor:
    """Mean loss of each object's points on each level, of ``shape`` (G, L).

    Where an object has no point that counts it is ``NO_POINTS``.

    Args:
        losses: Loss of each positive point, shape (M,).
        targets: The points.
        counted: Flags (M,) of those that can have a weight.
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
    """Loss of the background and weighted ones of positives, over a sum.

    Args:
        background: Sum over all background points.
        losses: Loss of each positive point, shape (M,).
        weights: Shape (M,).
        total: Sum of all positives' weights; at least 1 divides.
    """
    return (background + (weights * losses).sum()) / total.clamp(min=1)

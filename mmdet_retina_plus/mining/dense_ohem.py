"""Online hard example mining over all anchors of an image.

OHEM: https://arxiv.org/abs/1604.03540; for one-stage detectors as the focal
loss paper compares it, https://arxiv.org/abs/1708.02002, table 1d.
"""

import math

import torch
import torch.nn.functional as F
from mmcv.ops import nms
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor


@TASK_UTILS.register_module()
class DenseOHEM:
    """Train the classifier on the hardest anchors of an image after NMS.

    Each anchor is scored by its cross entropy. Class-agnostic NMS on these
    scores removes overlapping anchors, and the hardest of the rest are
    selected. The defaults are the best row of the table, 3.2 AP below focal
    loss: this is a baseline. Boxes are trained on all positives, selected or
    not, and their loss is divided by the number of positives; the paper
    specifies neither.

    Args:
        num: Anchors per image, the table's batch size.
        iou_threshold: IoU threshold of NMS, in [0, 1].
        neg_pos_ratio: Negatives per positive, 3 in the 1:3 rows of the table;
            None for no fixed ratio. With a ratio, all positives among the
            ``num`` hardest are kept and at most ``ratio`` times as many of
            the hardest negatives, so fewer than ``num`` may remain.
        min_positives: Minimum positive count used for the negative budget, so
            that images without hard positives train too.
        normalizer: Divisor of the loss: ``'selected'``, the number of
            selected anchors in the batch, or ``'positives'``, as in the head.
        on_anchors: Whether NMS compares anchors or predicted boxes.
        use_sigmoid: Whether the classifier has one logit per class. If False,
            it also has a background logit, which is last.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        num: int = 128,
        iou_threshold: float = 0.5,
        neg_pos_ratio: float | None = None,
        min_positives: int = 1,
        normalizer: str = 'selected',
        on_anchors: bool = True,
        use_sigmoid: bool = True,
    ) -> None:
        if num < 1 or min_positives < 0:
            raise ValueError(
                f'num is {num} and min_positives {min_positives}: use num of '
                'at least 1 and min_positives of at least 0'
            )
        if not 0 <= iou_threshold <= 1:
            raise ValueError(
                f'iou_threshold is {iou_threshold}: use one in [0, 1], where '
                '1 suppresses nothing'
            )
        if neg_pos_ratio is not None and not 0 <= neg_pos_ratio < math.inf:
            raise ValueError(
                f'neg_pos_ratio is {neg_pos_ratio}: use a number of 0 or '
                'more, or None to keep all of the hardest'
            )
        if normalizer not in ('selected', 'positives'):
            raise ValueError(
                f'normalizer is {normalizer!r}: use "selected" or "positives"'
            )
        self.num = num
        self.iou_threshold = iou_threshold
        self.neg_pos_ratio = neg_pos_ratio
        self.min_positives = min_positives
        self.normalizer = normalizer
        self.needs = 'anchors' if on_anchors else 'predictions'
        self.use_sigmoid = use_sigmoid

    def __call__(
        self,
        cls_score: Tensor,
        boxes: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        gt_instances: InstanceData,
    ) -> Tensor:
        """Set the weights of all anchors that are not selected to 0.

        See ``MiningPolicy``; NMS compares ``boxes``.
        """
        background = cls_score.size(1) - (not self.use_sigmoid)
        candidates = (label_weights > 0).nonzero().squeeze(1)
        labels = labels[candidates]
        hardest = select_hardest(
            cross_entropy(cls_score[candidates], labels, self.use_sigmoid),
            boxes[candidates],
            labels != background,
            self.num,
            self.iou_threshold,
            self.neg_pos_ratio,
            self.min_positives,
        )
        selected = candidates[hardest]
        weights = torch.zeros_like(label_weights)
        weights[selected] = label_weights[selected]
        return weights


def cross_entropy(
    cls_score: Tensor, labels: Tensor, use_sigmoid: bool
) -> Tensor:
    """Compute the loss of each anchor, (A,); sigmoids sum over the classes.

    Args:
        cls_score: Logits of shape (A, K), in any precision.
        labels: Shape (A,), background = number of classes.
    """
    cls_score = cls_score.float()
    if not use_sigmoid:
        return F.cross_entropy(cls_score, labels, reduction='none')
    losses = F.softplus(cls_score)
    positive = (labels < cls_score.size(1)).nonzero().squeeze(1)
    place = positive, labels[positive]
    losses[place] = F.softplus(-cls_score[place])
    return losses.sum(dim=1)


def select_hardest(
    losses: Tensor,
    boxes: Tensor,
    positive: Tensor,
    num: int,
    iou_threshold: float,
    neg_pos_ratio: float | None = None,
    min_positives: int = 1,
    num_first: int | None = None,
) -> Tensor:
    """Select the indices of the anchors to train on, hardest first.

    NMS starts with the hardest few and adds more only if too few remain. The
    result is that of NMS over all anchors, since no box depends on easier
    ones. Equal losses keep the order of their indices.

    Args:
        losses: Shape (A,).
        boxes: Shape (A, 4).
        positive: Flags of the positives, shape (A,).
        num, iou_threshold, neg_pos_ratio, min_positives: See ``DenseOHEM``.
        num_first: Number of boxes to start NMS with, ``4 * num`` by default.
    """
    order = losses.sort(descending=True, stable=True).indices
    size = num_first or 4 * num
    apart = nms_in_order(boxes[order[:size]], iou_threshold)
    while len(apart) < num and size < len(order):
        size *= 2
        apart = nms_in_order(boxes[order[:size]], iou_threshold)
    hardest = order[apart[:num]]
    if neg_pos_ratio is None:
        return hardest
    kept = keep_ratio(positive[hardest], neg_pos_ratio, min_positives)
    return hardest[kept]


def keep_ratio(
    positive: Tensor, neg_pos_ratio: float, min_positives: int
) -> Tensor:
    """Keep all positives and as many first negatives as the ratio allows.

    Args:
        positive: Flags of the positives, hardest first, shape (N,).
        neg_pos_ratio, min_positives: See ``DenseOHEM``.

    Returns:
        Flags of the anchors to keep, shape (N,).
    """
    counted = positive.sum().clamp(min=min_positives)
    rank = (~positive).cumsum(0)
    return positive | (rank <= neg_pos_ratio * counted)


def nms_in_order(boxes: Tensor, iou_threshold: float) -> Tensor:
    """Run NMS in the order of the boxes and return the kept indices.

    Args:
        boxes: Shape (N, 4), in any precision.
    """
    # Use ranks as scores: mmcv's sort is not stable, and float32 counts to 16
    # million.
    ranks = torch.arange(len(boxes), 0, -1, device=boxes.device)
    return nms(boxes.float(), ranks.float(), iou_threshold)[1]

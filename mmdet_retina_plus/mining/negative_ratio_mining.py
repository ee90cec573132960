"""SSD's hard negative mining, for any dense classifier.

SSD: https://arxiv.org/abs/1512.02325, section 2.2.
"""

import math

import torch
import torch.nn.functional as F
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor


@TASK_UTILS.register_module()
class NegativeRatioMining:
    """Keep all positives, and per positive a few of the hardest negatives.

    Of an image with P positives, the ``max(min_neg, ratio * P)`` negatives
    remain whose cross entropy is highest, and of equals the first. There is
    no NMS. The loss is divided by the number of positives, as in SSD.

    mmdet's SSDHead, which has this rule built in, trains nothing on an image
    without objects; ``min_neg=0`` does the same.

    Args:
        ratio: Negatives per positive.
        min_neg: Least negatives of an image, as far as it has so many.
        use_sigmoid: Whether logits are one per class, and not also one of the
            background, which is last.

    Raises:
        ValueError: A number below 0, or an infinite ratio.
    """

    needs = None
    normalizer = 'positives'

    def __init__(
        self, ratio: float = 3.0, min_neg: int = 3, use_sigmoid: bool = True
    ) -> None:
        if not 0 <= ratio < math.inf or min_neg < 0:
            raise ValueError(
                f'ratio is {ratio} and min_neg {min_neg}: use finite numbers '
                'of 0 or more, or mining=None to train on all negatives'
            )
        self.ratio = ratio
        self.min_neg = min_neg
        self.use_sigmoid = use_sigmoid

    def __call__(
        self,
        cls_score: Tensor,
        boxes: None,
        labels: Tensor,
        label_weights: Tensor,
        gt_instances: InstanceData,
    ) -> Tensor:
        """Weights (A,), 0 for every negative that is not among the hardest.

        See ``MiningPolicy``. An ignored anchor is neither positive nor
        negative.
        """
        background = cls_score.size(1) - (not self.use_sigmoid)
        counted = label_weights > 0
        negative = counted & (labels == background)
        wanted = (self.ratio * (counted & ~negative).sum()).floor()
        losses = background_loss(cls_score, self.use_sigmoid)
        order = losses.masked_fill(~negative, -torch.inf).sort(
            descending=True, stable=True
        )
        # By rank, since a number of anchors would have to be read.
        rank = torch.empty_like(order.indices)
        rank[order.indices] = torch.arange(len(rank), device=rank.device)
        kept = rank < wanted.clamp(min=self.min_neg)
        return label_weights.where(kept | ~negative, 0)


def background_loss(cls_score: Tensor, use_sigmoid: bool) -> Tensor:
    """Cross entropy of anchors (A,) whose target is the background.

    Args:
        cls_score: Logits of shape (A, K), of whatever precision.
        use_sigmoid: As in ``NegativeRatioMining``; summed over the classes.
    """
    cls_score = cls_score.float()
    if use_sigmoid:
        return F.softplus(cls_score).sum(dim=1)
    return cls_score.logsumexp(dim=1) - cls_score[:, -1]

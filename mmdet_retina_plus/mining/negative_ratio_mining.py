"""SSD's hard negative mining for any dense classifier.

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
    """Keep all positives and a fixed ratio of the hardest negatives.

    For an image with P positives, keep the ``max(min_neg, ratio * P)``
    negatives of highest cross entropy, on ties the first. There is no NMS.
    The loss is divided by the number of positives, as in SSD.

    With ``min_neg=0`` images without objects train nothing, as in mmdet's
    SSDHead.

    Args:
        ratio: Negatives per positive.
        min_neg: Minimum number of negatives per image, if it has that many.
        use_sigmoid: Whether the classifier has one logit per class. If False,
            it also has a background logit, which is last.

    Raises:
        ValueError: A number is negative or the ratio is infinite.
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
        """Set the weights of all but the hardest negatives to 0.

        See ``MiningPolicy``. Ignored anchors count as neither positive nor
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
        # Compare ranks: indexing by a count would synchronise a GPU.
        rank = torch.empty_like(order.indices)
        rank[order.indices] = torch.arange(len(rank), device=rank.device)
        kept = rank < wanted.clamp(min=self.min_neg)
        return label_weights.where(kept | ~negative, 0)


def background_loss(cls_score: Tensor, use_sigmoid: bool) -> Tensor:
    """Cross entropy of each anchor with background as target, shape (A,).

    Args:
        cls_score: Logits of shape (A, K), of any precision.
        use_sigmoid: See ``NegativeRatioMining``; summed over the classes.
    """
    cls_score = cls_score.float()
    if use_sigmoid:
        return F.softplus(cls_score).sum(dim=1)
    return cls_score.logsumexp(dim=1) - cls_score[:, -1]

"""Stochastic hard example mining, as Retina U-Net trains its classifier.

Retina U-Net: https://arxiv.org/abs/1811.08661; the values are those of its
authors' medicaldetectiontoolkit, ``utils/model_utils.py``.
"""

import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor


@TASK_UTILS.register_module()
class StochasticHardMining:
    """Keep all positives and draw negatives from the hardest.

    For an image with P positives, draw ``n = max(min_negatives, neg_pos_ratio
    * P)`` negatives at random from the ``pool_size * n`` with the highest
    probability of any class. Random numbers come from torch's default
    generator.

    Args:
        pool_size: Size of the pool per negative to draw; 1 takes the hardest.
        neg_pos_ratio: Negatives per positive.
        min_negatives: Minimum number of negatives per image.
        use_sigmoid: Whether the classifier has one logit per class. If False,
            it also has a background logit, which is last.

    Raises:
        ValueError: ``pool_size`` is below 1 or another number below 0.
    """

    needs = None
    normalizer = 'positives'

    def __init__(
        self,
        pool_size: int = 20,
        neg_pos_ratio: float = 1.0,
        min_negatives: int = 1,
        use_sigmoid: bool = False,
    ) -> None:
        if pool_size < 1 or neg_pos_ratio < 0 or min_negatives < 0:
            raise ValueError(
                f'pool_size is {pool_size}, neg_pos_ratio {neg_pos_ratio} and '
                f'min_negatives {min_negatives}: use a pool_size of at least '
                '1 and no number below 0'
            )
        self.pool_size = pool_size
        self.neg_pos_ratio = neg_pos_ratio
        self.min_negatives = min_negatives
        self.use_sigmoid = use_sigmoid

    def __call__(
        self,
        cls_score: Tensor,
        boxes: None,
        labels: Tensor,
        label_weights: Tensor,
        gt_instances: InstanceData,
    ) -> Tensor:
        """Set the weights of all negatives that are not drawn to 0.

        See ``MiningPolicy``. Ignored anchors count as neither positive nor
        negative.
        """
        background = cls_score.size(1) - (not self.use_sigmoid)
        counted = label_weights > 0
        negatives = counted & (labels == background)
        # Read both numbers at once, since each read synchronises a GPU.
        num_counted, num_negatives = torch.stack(
            [counted.sum(), negatives.sum()]
        ).tolist()
        num_positives = num_counted - num_negatives
        wanted = max(
            self.min_negatives, round(self.neg_pos_ratio * num_positives)
        )
        hardness = foreground_scores(cls_score, self.use_sigmoid)
        hardness = hardness.masked_fill(~negatives, -torch.inf)
        pool = hardness.topk(
            min(self.pool_size * wanted, num_negatives)
        ).indices
        order = torch.randperm(len(pool), device=pool.device)
        drawn = torch.zeros_like(negatives)
        drawn[pool[order[:wanted]]] = True
        return label_weights.where(drawn | ~negatives, 0)


def foreground_scores(cls_score: Tensor, use_sigmoid: bool) -> Tensor:
    """Compute the highest class probability (A,) from logits (A, K)."""
    if use_sigmoid:
        return cls_score.max(dim=1).values.sigmoid()
    return cls_score.softmax(dim=1)[:, :-1].max(dim=1).values

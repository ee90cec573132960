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
    """Keep all positives, and some negatives drawn from the hardest.

    Of an image with P positives, ``n = max(min_negatives, neg_pos_ratio *
    P)`` negatives remain, drawn at random from the ``pool_size * n`` whose
    probability of any class is highest. Random numbers are torch's own.

    Args:
        pool_size: Hard negatives per negative that is drawn; 1 takes just the
            hardest.
        neg_pos_ratio: Negatives per positive.
        min_negatives: Least negatives of an image.
        use_sigmoid: Whether logits are one per class, and not also one of the
            background, which is last.

    Raises:
        ValueError: No pool, or a number below 0.
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
                f'min_negatives {min_negatives}: take a pool of at least 1 '
                'and nothing below 0'
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
        """Weights (A,), 0 for every negative that was not drawn.

        See ``MiningPolicy``. An ignored anchor is neither positive nor
        negative.
        """
        background = cls_score.size(1) - (not self.use_sigmoid)
        counted = label_weights > 0
        negatives = counted & (labels == background)
        # One read of both numbers, since each stops a GPU's queue.
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
    """Highest probability of a class, shape (A,), from logits (A, K)."""
    if use_sigmoid:
        return cls_score.max(dim=1).values.sigmoid()
    return cls_score.softmax(dim=1)[:, :-1].max(dim=1).values

"""Policies and a sampler that choose anchors to train on.

They are registered in mmdet's TASK_UTILS.
"""

from .dense_ohem import DenseOHEM
from .libra_neg_sampler import LibraNegSampler
from .negative_ratio_mining import NegativeRatioMining
from .policy import MiningPolicy
from .predicted_iou_ignore import PredictedIoUIgnore
from .stochastic_hard_mining import StochasticHardMining

__all__ = [
    'DenseOHEM',
    'LibraNegSampler',
    'MiningPolicy',
    'NegativeRatioMining',
    'PredictedIoUIgnore',
    'StochasticHardMining',
]

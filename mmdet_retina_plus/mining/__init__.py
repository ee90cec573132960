"""Policies that choose anchors to train on, in mmdet's TASK_UTILS."""

from .dense_ohem import DenseOHEM
from .negative_ratio_mining import NegativeRatioMining
from .policy import MiningPolicy
from .predicted_iou_ignore import PredictedIoUIgnore
from .stochastic_hard_mining import StochasticHardMining

__all__ = [
    'DenseOHEM',
    'MiningPolicy',
    'NegativeRatioMining',
    'PredictedIoUIgnore',
    'StochasticHardMining',
]

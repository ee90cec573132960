"""Policies that choose anchors to train on, in mmdet's TASK_UTILS."""

from .dense_ohem import DenseOHEM
from .policy import MiningPolicy
from .stochastic_hard_mining import StochasticHardMining

__all__ = ['DenseOHEM', 'MiningPolicy', 'StochasticHardMining']

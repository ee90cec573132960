"""Random states of one process, as plain values."""

import random
from typing import Any

import numpy as np
import torch


def random_states() -> dict[str, Any]:
    """States of Python, NumPy, torch and, if it is in use, the current GPU.

    Numbers, strings, tuples and lists of them, and byte tensors: what
    ``torch.load`` reads with ``weights_only``.
    """
    numpy: dict[str, Any] = dict(np.random.get_state(legacy=False))
    key = numpy['state']['key'].tolist()
    numpy['state'] = dict(numpy['state'], key=key)
    states = dict(
        python=random.getstate(),
        numpy=numpy,
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_initialized():
        states['cuda'] = torch.cuda.get_rng_state()
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    """Set what ``random_states`` returned.

    Args:
        states: Tensors may have been loaded to any device.
    """
    random.setstate(states['python'])
    np.random.set_state(states['numpy'])
    torch.set_rng_state(states['torch'].cpu())
    if 'cuda' in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states['cuda'].cpu())

"""Random states of a process as plain values."""

import random
from typing import Any

import numpy as np
import torch


def random_states() -> dict[str, Any]:
    """Get the states of Python, NumPy, torch and a GPU in use.

    They consist of numbers, strings, tuples, lists and byte tensors, which
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
    """Restore the result of ``random_states``.

    Args:
        states: Tensors may be on any device.

    Raises:
        ValueError: ``states`` are not random states.
    """
    try:
        random.setstate(states['python'])
        # NumPy reads there without a look.
        position = states['numpy']['state']['pos']
        if not 0 <= position <= 624:
            raise ValueError(f'NumPy at position {position} of 624')
        np.random.set_state(states['numpy'])
        torch.set_rng_state(states['torch'].cpu())
        if 'cuda' in states and torch.cuda.is_available():
            torch.cuda.set_rng_state(states['cuda'].cpu())
    except Exception as error:  # A file may hold anything.
        raise ValueError(
            f'No random states: {error}. The checkpoint is damaged or forged, '
            'resume from another'
        ) from error

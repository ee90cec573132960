"""Checkpoints of mmengine load on torch >= 2.6 with ``weights_only`` left on.

mmengine pickles its log history beside the weights. Since torch 2.6 such a
file is refused, so that `mim test` and `mim train --resume` fail on any
checkpoint that mmengine wrote. Here the few globals that those files need are
named as safe; whatever else a file asks for is still refused.
"""

import pickle
from collections.abc import Callable

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer

# What `HistoryBuffer` registers by itself.
_STATISTICS = ('min', 'max', 'current', 'mean')


def history_statistic(owner: object, name: str) -> Callable:
    """Stand-in for the ``getattr`` that mmengine's pickles call.

    Raises:
        pickle.UnpicklingError: The file asks for anything but a statistic of
            ``HistoryBuffer``.
    """
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise pickle.UnpicklingError(
            f'The checkpoint asks for attribute {name!r} of {owner!r}, which '
            'no checkpoint of mmengine needs. Do not load it unless you know '
            'who wrote it.'
        )
    return getattr(HistoryBuffer, name)


def constructor(value: object) -> Callable:
    """The function that numpy's pickles of such a value call."""
    function = value.__reduce__()[0]
    assert callable(function)
    return function


def allow_mmengine_checkpoints() -> None:
    """Name the globals of mmengine's checkpoints as safe for ``torch.load``.

    Does nothing where torch has no such list (before 2.5), because there
    mmengine's files load as they are.
    """
    if not hasattr(torch.serialization, 'add_safe_globals'):
        return
    # numpy 2 moved these functions; files name the place of the numpy that
    # wrote them.
    array_functions = [
        (function, f'numpy.{core}.multiarray.{function.__name__}')
        for core in ('core', '_core')
        for function in map(constructor, (np.array(0), np.float64(0)))
    ]
    dtypes = {type(np.dtype(code)) for code in np.typecodes['AllInteger']}
    dtypes |= {type(np.dtype(code)) for code in np.typecodes['AllFloat']}
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            np.ndarray,
            np.dtype,
            (history_statistic, 'builtins.getattr'),
            *array_functions,
            *dtypes,
            type(np.dtype(bool)),
        ]
    )


allow_mmengine_checkpoints()

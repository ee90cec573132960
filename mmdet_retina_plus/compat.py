"""Checkpoints of mmengine load on torch >= 2.6 with ``weights_only`` left on.

mmengine pickles its log history beside the weights. Since torch 2.6 such a
file is refused, so that `mim test` and `mim train --resume` fail on any
checkpoint that mmengine wrote. Here the few globals that those files need are
named as safe; whatever else a file asks for is still refused.

This keeps a file from calling functions. It does not vouch for its arrays (a
numpy dtype may lie about its memory), and a checkpoint given by URL is loaded
by torch.hub, without ``weights_only``: download those of strangers first.
"""

import pickle
from collections.abc import Callable

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from packaging.version import Version

# The functions that mmengine's pickles name by their class.
METHODS: dict[type, tuple[str, ...]] = {
    HistoryBuffer: ('min', 'max', 'current', 'mean'),
    OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
}


def known_method(owner: object, name: str) -> Callable:
    """Stand-in for the ``getattr`` that mmengine's pickles call.

    Raises:
        pickle.UnpicklingError: The file asks for anything but ``METHODS``.
    """
    if not isinstance(owner, type) or name not in METHODS.get(owner, ()):
        raise pickle.UnpicklingError(
            f'The checkpoint asks for attribute {name!r} of {owner!r}, which '
            'no checkpoint of mmengine needs. Do not load it unless you know '
            'who wrote it.'
        )
    return getattr(owner, name)


def constructor(value: object) -> Callable:
    """The function that numpy's pickles of such a value call."""
    function = value.__reduce__()[0]
    assert callable(function)
    return function


def allow_mmengine_checkpoints() -> None:
    """Name the globals of mmengine's checkpoints as safe for ``torch.load``.

    Does nothing before torch 2.6, where they load as they are.
    """
    if Version(torch.__version__) < Version('2.6'):
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
            *METHODS,
            np.ndarray,
            np.dtype,
            (known_method, 'builtins.getattr'),
            *array_functions,
            *dtypes,
            type(np.dtype(bool)),
        ]
    )


allow_mmengine_checkpoints()

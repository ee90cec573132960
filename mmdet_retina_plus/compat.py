"""Load mmengine's checkpoints on torch >= 2.6 with ``weights_only``.

mmengine pickles its log history with the weights. Since version 2.6, torch
refuses such files, so `mim test` and `mim train --resume` fail on any
checkpoint of mmengine. This module registers the few globals that they need
as safe. Anything else in a file is still refused.

onedl-mmengine retries refused files without ``weights_only``, and mmengine
loads downloads without it. This module turns both off.

A file can neither call other functions nor make arrays of Python objects, for
example through a numpy dtype with a false memory layout.
"""

import pickle
import re
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import checkpoint
from packaging.version import Version

# Methods that mmengine's pickles refer to by class and name.
METHODS: dict[type, tuple[str, ...]] = {
    HistoryBuffer: ('min', 'max', 'current', 'mean'),
    OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
}

SAFE = Version('2.6')
"""First version of torch with ``weights_only`` on by default."""
NUMBER = re.compile(r'[biufc]\d+')
BYTE_ORDERS = ('<', '>', '=', '|')


def known_method(owner: object, name: str) -> Callable:
    """Stand-in for the ``getattr`` that mmengine's pickles call.

    Raises:
        pickle.UnpicklingError: The file asks for anything but ``METHODS``.
    """
    if not isinstance(owner, type) or name not in METHODS.get(owner, ()):
        raise refused(f'attribute {name!r} of {owner!r}')
    return getattr(owner, name)


class NumberType:
    """Stand-in for ``numpy.dtype``, whose state a file could set freely.

    Args:
        code: Type code of a number, such as ``f8``.
        align: Argument that numpy writes; unused.
        copy: Argument that numpy writes; unused.

    Raises:
        pickle.UnpicklingError: The type is not a number.
    """

    def __init__(self, code: str, align: bool = False, copy: bool = True):
        if not isinstance(code, str) or not NUMBER.fullmatch(code):
            raise refused(f'the dtype {code!r}')
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        _, order, *rest = state
        # No fields, sizes or flags.
        if order not in BYTE_ORDERS or rest != [None, None, None, -1, -1, 0]:
            raise refused(f'a dtype with the state {state!r}')
        self.dtype = self.dtype.newbyteorder(order)


class NumberArray(np.ndarray):
    """Stand-in for ``numpy.ndarray`` that holds numbers only."""

    def __new__(cls, *args: object) -> 'NumberArray':
        raise refused('a new array')

    def __setstate__(self, state: tuple) -> None:
        version, shape, kind, is_fortran, content = state
        if type(kind) is not NumberType or not isinstance(content, bytes):
            raise refused('an array that is not of numbers')
        super().__setstate__((version, shape, kind.dtype, is_fortran, content))

    def __reduce__(self) -> str | tuple:
        # When saved again, the pickle names numpy's class.
        return self.view(np.ndarray).__reduce__()


def number_array(kind: object, shape: object, code: object) -> NumberArray:
    """Stand-in for the function that creates arrays in numpy's pickles."""
    if kind is not NumberArray:
        raise refused(f'an array of the class {kind!r}')
    return np.ndarray.__new__(NumberArray, (0,), 'b')


def number(kind: object, content: object) -> np.generic:
    """Stand-in for the function that creates numbers in numpy's pickles."""
    if type(kind) is not NumberType or not isinstance(content, bytes):
        raise refused('a scalar that is not a number')
    if len(content) != kind.dtype.itemsize:
        raise refused('a number of another size than its dtype')
    return np.frombuffer(content, kind.dtype)[0]


def refused(what: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(
        f'The checkpoint asks for {what}, which no checkpoint of mmengine '
        'needs. Do not load it unless you know who wrote it.'
    )


def allow_mmengine_checkpoints() -> None:
    """Register the globals of mmengine's checkpoints as safe to load.

    Before torch 2.6 this is not needed and does nothing.
    """
    if Version(torch.__version__) < SAFE:
        return
    # numpy 2 moved these functions; files have the path of the numpy that
    # wrote them.
    stand_ins: list[tuple[Callable, str]] = [
        (function, f'numpy.{core}.multiarray.{name}')
        for core in ('core', '_core')
        for function, name in (
            (number_array, '_reconstruct'),
            (number, 'scalar'),
        )
    ]
    torch.serialization.add_safe_globals(
        [
            *METHODS,
            (NumberArray, 'numpy.ndarray'),
            (NumberType, 'numpy.dtype'),
            (known_method, 'builtins.getattr'),
            *stand_ins,
        ]
    )


def keep_weights_only() -> None:
    """Disable unsafe loading in mmengine's loaders of files and URLs."""
    if Version(torch.__version__) < SAFE:
        return
    checkpoint.load_url = partial(checkpoint.load_url, weights_only=True)
    if hasattr(checkpoint, '_safe_torch_load'):
        load = partial(torch.load, weights_only=True)
        checkpoint._safe_torch_load = load


allow_mmengine_checkpoints()
keep_weights_only()

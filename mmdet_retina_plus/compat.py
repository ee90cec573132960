"""Load mmengine's checkpoints on torch >= 2.6 with ``weights_only``.

mmengine pickles its log history with the weights. Since version 2.6, torch
refuses such files, so `mim test` and `mim train --resume` fail on any
checkpoint of mmengine. This module registers the few globals that they need
as safe. Anything else in a file is still refused.

onedl-mmengine retries refused files without ``weights_only``, and mmengine
loads downloads without it. This module turns both off.

A file can neither call other functions nor make arrays of Python objects, for
example through a numpy dtype with a false memory layout.

A training that resumes from a file runs no text in it as a config, and
removes or writes no file that it names.
"""

import pickle
import re
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.fileio import get_file_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import Runner, checkpoint
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


class SafeTorch:
    """torch for mmengine's loaders, with ``weights_only`` in each load.

    Without it, TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD would make a load unsafe.
    """

    load = staticmethod(partial(torch.load, weights_only=True))

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def keep_weights_only() -> None:
    """Disable unsafe loading in mmengine's loaders of files and URLs."""
    if Version(torch.__version__) < SAFE:
        return
    checkpoint.load_url = partial(checkpoint.load_url, weights_only=True)
    checkpoint.torch = SafeTorch()
    if hasattr(checkpoint, '_safe_torch_load'):
        checkpoint._safe_torch_load = SafeTorch.load


def without_config(load: Callable) -> Callable:
    """A Runner's ``load_checkpoint`` that leaves out ``meta.config``.

    ``Runner.resume`` would run it, to read the number of GPUs. Checkpoints of
    mmengine have it as ``cfg``, which is not run.
    """

    @wraps(load)
    def load_checkpoint(self: Runner, *args: Any, **kwargs: Any) -> dict:
        loaded = load(self, *args, **kwargs)
        loaded.get('meta', {}).pop('config', None)
        return loaded

    return load_checkpoint


def with_own_files(start: Callable) -> Callable:
    """A CheckpointHook's ``before_train`` that knows files of its folder only.

    The hook removes old checkpoints, and the best one at the next best one.
    It takes their names and numbers from the checkpoint that the training
    resumes from.
    """

    @wraps(start)
    def before_train(self: CheckpointHook, runner: Runner) -> None:
        folder = self.out_dir or runner.work_dir
        files = get_file_backend(folder, backend_args=self.backend_args)
        if folder != runner.work_dir:  # As the hook itself does.
            folder = files.join_path(folder, Path(runner.work_dir).name)
        source = Path(runner._load_from or files.join_path(folder, 'last'))
        is_own = source.parent.resolve() == Path(folder).resolve()
        hub = runner.message_hub
        for key, value in list(hub.runtime_info.items()):
            if key == 'keep_ckpt_ids':
                is_kept = all(isinstance(number, int) for number in value)
            elif key == 'last_ckpt' or key.startswith('best_ckpt'):
                name = Path(str(value)).name
                value = files.join_path(folder, name)
                is_kept = name.startswith('best_') == (key != 'last_ckpt')
                is_kept &= files.isfile(value)
            else:
                continue
            if is_own and is_kept:
                hub.update_info(key, value)
            else:
                hub.pop_info(key)
        start(self, runner)

    return before_train


allow_mmengine_checkpoints()
keep_weights_only()
Runner.load_checkpoint = without_config(Runner.load_checkpoint)
CheckpointHook.before_train = with_own_files(CheckpointHook.before_train)

"""Pickles that do harm where a checkpoint is loaded without care."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from mmengine.logging.history_buffer import HistoryBuffer


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments) -> None:
        self.call: tuple = function, arguments

    def __call__(self) -> None:
        """What a pickle calls must look like a function as it is written."""

    def __reduce__(self):
        return self.call


class Built(Calls):
    """Pickles as a call whose result is then given a state."""

    def __init__(self, function, arguments, state) -> None:
        self.call = function, arguments, state


def subarray_of_objects() -> Built:
    """Bytes that numpy would take for the addresses of Python objects."""
    plain = (Calls(np.dtype, 'O8'), (1,)), None, None, 8, 8, 0
    lying = Built(np.dtype, ('i8', False, True), (3, '|', *plain))
    return Built(EMPTY[0], EMPTY[1], (1, (1,), lying, False, b'\x41' * 8))


EMPTY = np.array(0).__reduce__()
ATTACKS: dict[str, Callable[[pathlib.Path], Any]] = {
    'os-system': lambda path: Calls(os.system, f'touch {path}'),
    'function': lambda path: Calls(pathlib.Path.touch, path),
    'open': lambda path: Calls(open, str(path), 'w'),
    'memory-map': lambda path: Calls(
        np.memmap, str(path), 'u1', 'w+', 0, (1,)
    ),
    'eval': lambda path: Calls(eval, f'open({str(path)!r}, "w")'),
    'method': lambda path: Calls(path.touch),
    'getattr-chain': lambda path: Calls(
        Calls(getattr, Calls(getattr, pathlib.Path, 'touch'), '__call__'), path
    ),
    'getattr-of-a-module': lambda path: Calls(
        Calls(getattr, Calls(__import__, 'os'), 'system'), f'touch {path}'
    ),
    'history-method': lambda path: Calls(getattr, HistoryBuffer, '__init__'),
    'text-method': lambda path: Calls(getattr, 'text', 'format'),
    'array-method': lambda path: Calls(getattr, np.ndarray, 'tofile'),
    'instance-method': lambda path: Calls(getattr, HistoryBuffer(), 'mean'),
    'array-of-objects': lambda path: np.array([Calls(path.touch)], object),
    'empty-objects': lambda path: np.array([None], object),
    'subarray-of-objects': lambda path: subarray_of_objects(),
    'fields': lambda path: np.zeros(1, [('a', 'O')]),
    'flags': lambda path: Built(
        *(np.dtype, ('i8', False, True)),
        (3, '<', None, None, None, -1, -1, 63),
    ),
    'object-number': lambda path: Calls(
        np.float64(0).__reduce__()[0], np.dtype('O'), path.touch
    ),
    'long-number': lambda path: Calls(
        np.float64(0).__reduce__()[0], np.dtype('f8'), b'1'
    ),
    'new-array': lambda path: Calls(np.ndarray, (1,), 'f8'),
    'array-class': lambda path: Calls(EMPTY[0], np.matrix, (0,), b'b'),
}
"""Attacks by name; each gets the file whose existence proves the harm."""

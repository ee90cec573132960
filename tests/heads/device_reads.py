"""Counts where a step on a GPU would wait for the host to read a value.

On a CPU that pretends to be one: `kernels.devices.may_wait` says no. Not
counted are

- reads that mmdet and mmcv do by themselves, whoever called them;
- copies to the host (`cpu`, `numpy`), which dispatch nothing on a CPU;
- operations not listed here whose size of the result hangs on values:
  `unique`, `repeat_interleave` without its `output_size`, NMS.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mmdet_retina_plus.kernels import devices

aten = torch.ops.aten
WAITING = {
    aten._local_scalar_dense.default,
    aten.bincount.default,
    aten.equal.default,
    aten.masked_select.default,
    aten.nonzero.default,
}
"""Operations whose result, or its size, the host reads."""
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
"""These do so where an index is a mask."""


def caller() -> str | None:
    """Function of ours that asked for it, None if mmdet or a test did."""
    frame = sys._getframe(1)
    while frame.f_globals['__name__'].split('.')[0] == 'torch' or (
        frame.f_globals['__name__'] == __name__
    ):
        frame = frame.f_back
    module = frame.f_globals['__name__']
    ours = module.startswith('mmdet_retina_plus.')
    return frame.f_code.co_name if ours else None


class _Reads(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def note(self) -> None:
        name = caller()
        if name:
            self.counts[name] += 1

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        masked = func in INDEXING and any(
            index is not None and index.dtype in (torch.bool, torch.uint8)
            for index in args[1]
        )
        if func in WAITING or masked:
            self.note()
        return func(*args, **(kwargs or {}))


@contextmanager
def device_reads() -> Iterator[Counter[str]]:
    """Reads by our function, on the path of a GPU but on the CPU."""
    mode = _Reads()
    tolist = Tensor.tolist

    def noted_tolist(self: Tensor) -> list:
        mode.note()  # No operation is dispatched.
        return tolist(self)

    with pytest.MonkeyPatch.context() as patch, mode:
        patch.setattr(devices, 'may_wait', lambda device: False)
        patch.setattr(Tensor, 'tolist', noted_tolist)
        yield mode.counts

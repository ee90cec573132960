"""The kernels on a card, or in Triton's interpreter on the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from mmdet_retina_plus.kernels import dispatch, max_iou


@contextmanager
def by_kernels(device: torch.device, **sizes: int) -> Iterator[None]:
    """Let losses and assigners take the kernels.

    Args:
        device: Where tensors are.
        sizes: Sizes of tiles in the interpreter, by name in
            ``kernels.max_iou`` or ``kernels.atss``. Larger ones than on a GPU
            save time there.
    """
    if device.type == 'cuda':
        yield
        return
    from mmdet_retina_plus.kernels import atss

    sizes = dict(PRIORS=1024, BOXES=64, GTS=64) | sizes
    # As a GPU does.
    torch.set_flush_denormal(True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, 'usable', lambda *tensors: True)
        for name, size in sizes.items():
            for module in (atss, max_iou):
                if hasattr(module, name):
                    patch.setattr(module, name, size)
        try:
            yield
        finally:
            torch.set_flush_denormal(False)


def to(device, *tensors):
    return [None if x is None else x.to(device) for x in tensors]


def to_cpu(result):
    for name in ('gt_inds', 'max_overlaps', 'labels'):
        setattr(result, name, getattr(result, name).cpu())
    return result


class _Counted:
    def __init__(self, kernel, name: str, names: list[str]) -> None:
        self.kernel, self.name, self.names = kernel, name, names

    def __getitem__(self, grid):
        self.names.append(self.name)
        return self.kernel[grid]


@contextmanager
def launched() -> Iterator[list[str]]:
    """Names of the matchers' kernels, in the order of their launches."""
    from mmdet_retina_plus.kernels import atss

    names: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for module in (atss, max_iou):
            for name, kernel in vars(module).copy().items():
                if name.endswith('_kernel'):
                    patch.setattr(module, name, _Counted(kernel, name, names))
        yield names

"""Choose between Triton kernels and plain torch.

Losses and assigners use plain torch on the CPU, on a GPU that Triton does not
support, and without Triton or the C compiler that it needs. They import a
module of kernels, and with it Triton, only to run it. No caller of a kernel
reads a value back from the GPU.
The environment variable MMDET_RETINA_PLUS_TRITON=0 turns the kernels off.
"""

import os
import shutil
import sysconfig
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

OLDEST_GPU = (7, 0)
"""Least compute capability that torch's own use of Triton accepts."""


def missing() -> str:
    """Say what Triton lacks to run, '' if nothing.

    Triton compiles a few lines of C for its driver at the first launch.
    """
    compilers = (os.environ.get('CC', 'gcc'), 'gcc', 'clang')
    if find_spec('triton') is None:
        return 'Triton is not installed'
    if not any(map(shutil.which, compilers)):
        return 'Triton needs a C compiler'
    if not Path(sysconfig.get_path('include'), 'Python.h').is_file():
        return "Triton needs Python's headers"
    return ''


USES_TRITON = (
    os.environ.get('MMDET_RETINA_PLUS_TRITON', '1') != '0' and not missing()
)


def usable(*tensors: Tensor | None) -> bool:
    """Whether the kernels can run on these tensors; None is ignored.

    Kernels compute in single precision, so float64 is left to torch.
    """
    return USES_TRITON and all(
        tensor is None
        or (
            tensor.is_cuda
            and tensor.dtype != torch.float64
            and supported(tensor.device)
        )
        for tensor in tensors
    )


@cache
def supported(device: torch.device) -> bool:
    """Whether Triton compiles for a GPU."""
    return torch.cuda.get_device_capability(device) >= OLDEST_GPU

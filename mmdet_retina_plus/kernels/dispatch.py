"""Which code runs: kernels in Triton, or plain torch.

Losses and assigners keep their torch path for the CPU and for a GPU without
Triton. They import a module of kernels, and with it Triton, only where it
runs. No kernel's caller reads a value back from the GPU. The environment
variable MMDET_RETINA_PLUS_TRITON=0 leaves a GPU to plain torch, too.
"""

import os
from importlib.util import find_spec

import torch
from torch import Tensor

USES_TRITON = (
    os.environ.get('MMDET_RETINA_PLUS_TRITON', '1') != '0'
    and find_spec('triton') is not None
)


def usable(*tensors: Tensor) -> bool:
    """Whether the kernels run on these tensors.

    They compute in single precision, so float64 is left to torch.
    """
    return USES_TRITON and all(
        tensor.is_cuda and tensor.dtype != torch.float64 for tensor in tensors
    )

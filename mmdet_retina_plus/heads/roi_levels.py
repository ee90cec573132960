"""Pyramid levels in the form that mmcv's RoIAlign needs."""

from collections.abc import Sequence

import torch
from torch import Tensor


def for_roi_align(x: Sequence[Tensor]) -> list[Tensor]:
    """Make the levels contiguous and at least single precision.

    mmcv's RoIAlign ignores strides. Above 1024 pixels float16 has steps of 1
    and bfloat16 of 8, and mmcv does not support bfloat16 on a CPU.
    """
    dtype = torch.promote_types(x[0].dtype, torch.float32)
    return [level.to(dtype).contiguous() for level in x]

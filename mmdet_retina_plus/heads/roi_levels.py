"""Pyramid levels as mmcv's RoIAlign wants them."""

from collections.abc import Sequence

import torch
from torch import Tensor


def for_roi_align(x: Sequence[Tensor]) -> list[Tensor]:
    """The levels, contiguous and at least in single precision.

    mmcv's RoIAlign ignores strides. Beyond 1024 pixels float16 has steps of
    1, bfloat16 of 8, and mmcv has no bfloat16 on a CPU.
    """
    dtype = torch.promote_types(x[0].dtype, torch.float32)
    return [level.to(dtype).contiguous() for level in x]

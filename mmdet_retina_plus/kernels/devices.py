"""Whether host code may read the values of a tensor."""

from collections.abc import Callable

import torch
from torch import Tensor


def may_wait(device: torch.device) -> bool:
    """Whether reading values needs no device synchronisation."""
    return device.type == 'cpu'


def check(condition: Tensor, error: Callable[[], str]) -> None:
    """Check a condition without synchronising a GPU.

    Args:
        condition: A flag, shape ().
        error: Returns the message. It may read values, since it is called on
            a CPU only. On a GPU, a device-side assertion fails instead.

    Raises:
        ValueError: The flag is false, on a CPU.
    """
    if may_wait(condition.device):
        if not condition:
            raise ValueError(error())
    else:
        # torch has no public assertion without synchronisation.
        torch._assert_async(condition)

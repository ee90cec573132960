"""Whether host code may read the values of a tensor."""

from collections.abc import Callable

import torch
from torch import Tensor


def may_wait(device: torch.device) -> bool:
    """Whether reading values needs no device synchronisation."""
    return device.type == 'cpu'


def check(condition: Tensor, error: Callable[[], str]) -> None:
    """Refuse values without waiting for a device.

    Args:
        condition: A flag, shape ().
        error: Gives the message. It may read values, since it is called on a
            CPU only; on a GPU the assertion ends the process' kernels with
            the message of the device.

    Raises:
        ValueError: The flag is false, on a CPU.
    """
    if may_wait(condition.device):
        if not condition:
            raise ValueError(error())
    else:
        # torch has no public assertion that does not wait.
        torch._assert_async(condition)

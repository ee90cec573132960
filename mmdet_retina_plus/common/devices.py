"""Devices of this machine."""


def chosen_device(name: str | None) -> str:
    """Choose a device and check that it works.

    Args:
        name: A device as torch names it. None: the first GPU, else the CPU.

    Raises:
        ValueError: The device does not exist; names those that do.
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name is None:
        return 'cuda:0' if gpus else 'cpu'
    try:
        torch.empty(0, device=name)
    # AssertionError if torch was built without the device.
    except (RuntimeError, AssertionError) as error:
        known = ['cpu', *(f'cuda:{number}' for number in range(gpus))]
        raise ValueError(
            f'There is no device {name!r} here: --device {" or ".join(known)}'
        ) from error
    return name

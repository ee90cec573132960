"""Devices that a detector can run on here."""


def chosen_device(name: str | None) -> str:
    """A device that works.

    Args:
        name: A device as torch names it. None: the first GPU, else the CPU.

    Raises:
        ValueError: There is none of this name here; with those that are.
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name is None:
        return 'cuda:0' if gpus else 'cpu'
    try:
        torch.empty(0, device=name)
    # An AssertionError where torch was built without it.
    except (RuntimeError, AssertionError) as error:
        known = ['cpu', *(f'cuda:{number}' for number in range(gpus))]
        raise ValueError(
            f'There is no device {name!r} here: --device {" or ".join(known)}'
        ) from error
    return name

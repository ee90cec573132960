"""Two processes of distributed training, on CPUs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing import spawn


def in_two_processes(
    folder: Path, body: Callable[..., Any], *args: Any
) -> list[Any]:
    """Results of ``body(rank, *args)`` for the ranks 0 and 1.

    Args:
        folder: Where the processes meet and leave their results.
        body: Function of a module, for processes of their own to import.
        args: More arguments, the same for both.
    """
    spawn(_run, (folder, body, args), nprocs=2)
    return [torch.load(folder / f'{rank}.pth') for rank in range(2)]


def _run(
    rank: int, folder: Path, body: Callable[..., Any], args: tuple
) -> None:
    # Spinning threads of two processes on few cores take turns for ages.
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=2
    )
    torch.save(body(rank, *args), folder / f'{rank}.pth')
    torch.distributed.destroy_process_group()

"""Processes of distributed training, on CPUs."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing import ProcessContext, start_processes

PATIENCE = timedelta(minutes=2)
"""Longest wait of a process for the others, so that a hang is an error."""


def in_two_processes(
    folder: Path, body: Callable[..., Any], *args: Any
) -> list[Any]:
    """Results of ``body(rank, *args)`` for the ranks 0 and 1.

    Args:
        folder: Where the processes meet and leave their results.
        body: Function of a module, for processes of their own to import.
        args: More arguments, the same for both.
    """
    return in_processes(2, folder, body, *args)


def in_processes(
    count: int, folder: Path, body: Callable[..., Any], *args: Any
) -> list[Any]:
    """Results of ``body(rank, *args)`` for so many ranks."""
    start(count, folder, body, args, join=True)
    return [torch.load(folder / f'{rank}.pth') for rank in range(count)]


def exit_codes(
    count: int, folder: Path, body: Callable[..., Any], *args: Any
) -> list[int | None]:
    """Those of so many ranks, of which none ends the others.

    None is one that did not end.
    """
    context = start(count, folder, body, args, join=False)
    assert context is not None
    for process in context.processes:
        process.join(2 * PATIENCE.total_seconds())
    codes = [process.exitcode for process in context.processes]
    for process in context.processes:
        process.kill()
    return codes


def start(
    count: int, folder: Path, body: Callable[..., Any], args: tuple, join: bool
) -> ProcessContext | None:
    # A fork has imported all, but cannot use a GPU that this process uses.
    method = 'spawn' if torch.cuda.is_available() else 'fork'
    return start_processes(
        _run,
        (count, folder, body, args),
        nprocs=count,
        join=join,
        start_method=method,
    )


def _run(
    rank: int, count: int, folder: Path, body: Callable[..., Any], args: tuple
) -> None:
    # Spinning threads of two processes on few cores take turns for ages.
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo',
        init_method=f'file://{folder}/meeting',
        rank=rank,
        world_size=count,
        timeout=PATIENCE,
    )
    torch.save(body(rank, *args), folder / f'{rank}.pth')
    torch.distributed.destroy_process_group()

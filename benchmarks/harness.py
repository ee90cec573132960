"""Time functions side by side: alternating in one process, ratio of medians.

Machines are noisy, so only ratios are meaningful. Peak memory is the most that
PyTorch and NumPy allocate during the call, beyond what was allocated before.
"""

import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmdet.structures.mask import BitmapMasks
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile


@dataclass
class Measurement:
    """Median seconds of one call, and peak bytes beyond the inputs."""

    seconds: float
    peak_bytes: int

    @property
    def megabytes(self) -> float:
        return self.peak_bytes / 1e6


def measure(
    functions: Sequence[Callable[[], object]],
    device: torch.device,
    repeats: int = 5,
    warmup: int = 1,
    prepare: Callable[[], object] | None = None,
    ahead: bool = False,
) -> list[Measurement]:
    """Time functions in turn, so that a slow minute affects all of them.

    Freeing the result of a function is not timed.

    Args:
        functions: Functions to compare.
        device: Device that they run on.
        repeats: Number of timed rounds.
        warmup: Number of untimed rounds before these.
        prepare: Draws new inputs before each round, untimed.
        ahead: Let Python run ahead of a GPU, as within a training step. Its
            own time then counts only where it waits for the GPU.
    """
    seconds: list[list[float]] = [[] for _ in functions]
    for round_ in range(warmup + repeats):
        if prepare is not None:
            prepare()
        for times, function in zip(seconds, functions, strict=True):
            elapsed = _time_once(function, device, ahead)
            if round_ >= warmup:
                times.append(elapsed)
    return [
        Measurement(statistics.median(times), peak_bytes(function, device))
        for times, function in zip(seconds, functions, strict=True)
    ]


def _time_once(
    function: Callable[[], object], device: torch.device, ahead: bool
) -> float:
    if device.type == 'cuda':
        if ahead:
            torch.cuda._sleep(10_000_000)
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        result = function()
        stop.record()
        torch.cuda.synchronize(device)
        del result
        return start.elapsed_time(stop) / 1e3
    begin = time.perf_counter()
    result = function()
    elapsed = time.perf_counter() - begin
    del result
    return elapsed


def peak_bytes(function: Callable[[], object], device: torch.device) -> int:
    """Peak of the allocators during one call, beyond earlier allocations.

    On a CPU this is the sum of PyTorch's peak and NumPy's, which the profiler
    does not cover.
    """
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True
    ) as profiler:
        # The profiler's imports on first use must not count.
        tracemalloc.start()
        function()
        _, numpy_peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    alive = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == '[memory]':
            alive += event.nbytes()
            peak = max(peak, alive)
    return peak + numpy_peak


def box_masks(boxes: torch.Tensor, shape: tuple[int, int]) -> BitmapMasks:
    """Masks that fill boxes (N, 4) in an image of ``shape``."""
    masks = np.zeros((len(boxes), *shape), np.uint8)
    for mask, (left, top, right, bottom) in zip(
        masks, boxes.int().tolist(), strict=True
    ):
        mask[top:bottom, left:right] = 1
    return BitmapMasks(masks, *shape)


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify='right')
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console(width=120).print(table)


def describe(device: torch.device) -> str:
    """Name of the device, thread count and torch version, for the caption."""
    if device.type == 'cuda':
        return (
            f'{torch.cuda.get_device_name(device)}, torch {torch.__version__}'
        )
    return (
        f'{platform.machine()} CPU, {torch.get_num_threads()} thread(s), '
        f'torch {torch.__version__}'
    )

"""One run of ``benchmarks.on_gpu``: its limits, and what it has written."""

import json
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click
import torch
from torch.profiler import ProfilerActivity, profile


@dataclass
class Run:
    """One run of this script.

    Attributes:
        device: Device to measure on.
        quick: Whether to rehearse with small inputs and few repeats.
        out: File to write the lines to.
        deadline: Nothing starts after this time of ``time.monotonic``.
        section: Name of the running section.
        lines: Objects that were written.
    """

    device: torch.device
    quick: bool
    out: Path
    deadline: float
    section: str = ''
    lines: list[dict] = field(default_factory=list)

    @property
    def on_gpu(self) -> bool:
        return self.device.type == 'cuda'

    @property
    def repeats(self) -> int:
        return 1 if self.quick else 15

    def late(self) -> bool:
        """Whether the time is up, which is written as an error."""
        late = time.monotonic() > self.deadline
        if late:
            self.write(error='The time is up: nothing more starts')
        return late

    def failed(self) -> bool:
        """Whether a section failed or a result differs from its reference."""
        return any(
            key == 'error' or (key.startswith('equals_') and not value)
            for line in self.lines
            for key, value in line.items()
        )

    def synchronize(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def waits(self, function: Callable[[], object]) -> dict[str, int]:
        """Where Python waits for the GPU, and how often."""
        if not self.on_gpu:
            return {}
        torch.cuda.set_sync_debug_mode('warn')
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter('always')
                function()
        finally:
            torch.cuda.set_sync_debug_mode('default')
        return Counter(
            f'{"/".join(Path(each.filename).parts[-3:])}:{each.lineno}'
            for each in caught
            if 'synchroniz' in str(each.message)
        )

    def launches(self, function: Callable[[], object]) -> int:
        """Kernels, copies and fills on the GPU."""
        if not self.on_gpu:
            return 0
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            function()
            self.synchronize()
        return sum(
            item.count
            for item in profiler.key_averages()
            if item.self_device_time_total > 0
        )

    def write(self, **values: object) -> None:
        line = dict(section=self.section) | {
            key: round(value, 4 if value > 1e-3 else 9)
            if isinstance(value, float)
            else value
            for key, value in values.items()
        }
        self.lines.append(line)
        text = json.dumps(line)
        with self.out.open('a') as file:
            file.write(text + '\n')
            file.flush()
            os.fsync(file.fileno())
        click.echo(text)

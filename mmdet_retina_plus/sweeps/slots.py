"""Divide the GPUs or cores of a machine among training runs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from mmdet_retina_plus.common.cores import cores


@dataclass(frozen=True)
class Slot:
    """GPUs or threads of a training run.

    Attributes:
        number: Index of the slot, from 0.
        gpus: Value of CUDA_VISIBLE_DEVICES; None leaves the variable as it
            is.
        threads: OpenMP threads of each process; None leaves that to torch.
        nproc: Processes of a run.
    """

    number: int = 0
    gpus: str | None = None
    threads: int | None = None
    nproc: int = 1

    def environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        if self.gpus is not None:
            environment['CUDA_VISIBLE_DEVICES'] = self.gpus
        if self.threads is not None:
            environment.setdefault('OMP_NUM_THREADS', str(self.threads))
        return environment


def make_slots(jobs: int, nproc: int, gpus: Sequence[str]) -> list[Slot]:
    """Divide a machine among simultaneous runs.

    Args:
        jobs: Number of simultaneous runs.
        nproc: Processes per run, with one GPU each.
        gpus: Names of the GPUs; empty on a machine without GPUs.

    Raises:
        ValueError: The GPUs do not suffice for `nproc`.
    """
    if nproc > 1 and not gpus:
        raise ValueError(
            '--nproc needs a GPU per process, since mmengine starts no '
            'other process groups, and torch sees none here'
        )
    if nproc > 1 and jobs * nproc > len(gpus):
        raise ValueError(
            f'{jobs} runs of {nproc} processes need {jobs * nproc} GPUs, '
            f'there are {len(gpus)}: lower --jobs or --nproc'
        )
    threads = max(1, cores() // (jobs * nproc))
    names = cycle(gpus)  # Single processes may share a GPU.
    return [
        Slot(number, ','.join(islice(names, nproc)) or None, threads, nproc)
        for number in range(jobs)
    ]


def visible_gpus() -> list[str]:
    """Names of visible GPUs, as in CUDA_VISIBLE_DEVICES."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',')
    names = [name for name in named if name]
    return names[:count] if names else [str(i) for i in range(count)]

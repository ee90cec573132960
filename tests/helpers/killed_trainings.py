"""Trainings that are killed at a moment, and what their checkpoints hold."""

import copy
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import barrier
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.registry import DATASETS, METRICS, MODELS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmdet_retina_plus import hooks  # noqa: F401
from mmdet_retina_plus.common.training_phase import training_progress

OF_A_RUN = {'cfg', 'experiment_name', 'time', 'last_ckpt', 'best_ckpt'}
"""Keys of a checkpoint that differ between equal trainings."""


def draw() -> float:
    """A number that all random states of a process decide."""
    return random.random() + np.random.rand() + torch.rand(()).item()


@DATASETS.register_module()
class NoisyData(Dataset):
    """Numbers with noise, as of transforms that draw.

    Attributes:
        read: What this process has read of the data of each length.
    """

    read: ClassVar[dict[int, list[int]]] = defaultdict(list)

    def __init__(self, length: int = 10) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        self.read[self.length].append(index)
        return dict(inputs=torch.tensor([index + draw(), 1.0]))

    def get_data_info(self, index: int) -> dict[str, int]:
        return dict(width=1 + index % 3, height=2)


@MODELS.register_module()
class NoisyModel(BaseModel):
    """A linear layer whose loss draws, with a buffer of what it drew.

    Like SAPDHead, it has another loss in the second half of a training.
    """

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.register_buffer('drawn', torch.zeros(()))

    def forward(self, inputs: Sequence[Tensor], mode: str) -> Any:
        values = self.linear(torch.stack(list(inputs)))
        if mode == 'predict':
            return values.flatten().tolist()
        self.drawn += draw()
        loss = (values - self.drawn).square().mean() * draw()
        return dict(loss=loss if training_progress() < 0.5 else 2 * loss)


@METRICS.register_module()
class MeanMetric(BaseMetric):
    default_prefix = 'mean'

    def process(self, data_batch: Any, data_samples: Sequence) -> None:
        self.results.extend(data_samples)

    def compute_metrics(self, results: list) -> dict[str, float]:
        return dict(value=float(np.mean(results)))


numbers = count()
"""mmengine's runners share what has one name."""


class Killed(BaseException):
    """Ends a training without any clean-up."""


class Killer(Hook):
    """Raise ``Killed`` at a moment.

    Args:
        moment: Method of a hook.
        at: Number of iterations done at that time.
    """

    priority = 'LOWEST'

    def __init__(self, moment: str, at: int) -> None:
        self.at = at
        setattr(self, moment, self.kill)

    def kill(self, runner: Runner, **kwargs: Any) -> None:
        if runner.iter >= self.at:
            raise Killed


def noisy_config(**changes: Any) -> Config:
    """A training of ten images for eight steps.

    Args:
        changes: Values by dotted keys, whose dots are ``__``.
    """
    loader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='InfiniteSampler', shuffle=True),
        dataset=dict(type='NoisyData'),
    )
    config = Config(
        dict(
            model=dict(type='NoisyModel'),
            train_dataloader=loader,
            val_dataloader=dict(
                loader, sampler=dict(type='DefaultSampler', shuffle=False)
            ),
            val_evaluator=dict(type='MeanMetric'),
            train_cfg=dict(by_epoch=False, max_iters=8, val_interval=4),
            val_cfg=dict(),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
            param_scheduler=dict(type='PolyLR', by_epoch=False, end=9),
            default_hooks=dict(
                checkpoint=dict(
                    type='CheckpointHook',
                    by_epoch=False,
                    interval=2,
                    save_best='mean/value',
                    rule='greater',
                ),
                logger=dict(type='LoggerHook', interval=1),
            ),
            custom_hooks=[
                dict(type='ExactResumeHook'),
                dict(type='EMAHook', momentum=0.1),
            ],
            default_scope='mmdet',
            log_level='ERROR',
            randomness=dict(seed=7),
        )
    )
    # Merging takes `_delete_` out of what it merges.
    changes = copy.deepcopy(changes)
    config.merge_from_dict(
        {key.replace('__', '.'): value for key, value in changes.items()}
    )
    return config


def train(
    config: Config,
    work_dir: Path,
    killer: Killer | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """The last checkpoint of a training.

    Args:
        config: Config of the training; not changed.
        work_dir: Work dir of the training.
        killer: Kills it.
        changes: Keys of the config that have other values.
    """
    config = Config({**config.to_dict(), **changes})
    config.update(
        work_dir=str(work_dir), experiment_name=f'training {next(numbers)}'
    )
    runner = build_runner(config)
    if killer is not None:
        runner.register_hook(killer)
    try:
        runner.train()
    except Killed:
        assert killer is not None
    end_workers(runner)
    # Only the first of several processes writes.
    barrier()
    pointer = work_dir / 'last_checkpoint'
    return torch.load(pointer.read_text(), weights_only=True)


def build_runner(config: Config) -> Runner:
    """A runner whose model trains along with other processes."""
    runner = Runner.from_cfg(config)
    if torch.distributed.is_initialized():
        # As the runner does where it starts the processes itself.
        runner.model = MMDistributedDataParallel(
            runner.model, broadcast_buffers=False
        )
    return runner


def end_workers(runner: Runner) -> None:
    """Drop the iterators, whose workers a cycle's collection waits for."""
    for loop in (runner.train_loop, runner.val_loop):
        loop.dataloader._iterator = None
        vars(getattr(loop, 'dataloader_iterator', Killed())).clear()


def differences(one: Any, other: Any, name: str = '') -> Iterator[str]:
    """Dotted names of what differs between checkpoints, bit for bit."""
    if isinstance(one, HistoryBuffer):
        one, other = one.data, other.data
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            if key in OF_A_RUN or 'time' in str(key):
                continue
            if key not in one or key not in other:
                yield f'{name}.{key}'
            else:
                yield from differences(one[key], other[key], f'{name}.{key}')
    elif isinstance(one, list | tuple) and type(one) is type(other):
        if len(one) != len(other):
            yield f'{name} of {len(one)} and {len(other)}'
        for index, pair in enumerate(zip(one, other, strict=False)):
            yield from differences(*pair, f'{name}.{index}')
    elif not np.array_equal(one, other):
        yield name

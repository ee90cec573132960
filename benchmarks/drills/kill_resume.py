"""Kill a training at random moments and resume it; count survived kills.

    python -m benchmarks.drills.kill_resume --kills 20

A training on small images runs once without interruption. Other runs with
resume=True are killed by SIGKILL: at a random time in a step or in the
evaluation, or when half of a checkpoint is on the disk. A run survives its
kills if, once complete, it is bit-identical to the uninterrupted one: last and
best checkpoint with weights, EMA, optimizer, schedulers, log history, metrics,
random states and the position in the data, and the logged values of each step.
Only the newest checkpoint is kept.

With --processes 2, one of two processes that train together is killed. The
other must exit by itself with an error.
"""

import json
import multiprocessing
import os
import random
import signal
import tempfile
import threading
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

import mmdet_retina_plus
from benchmarks.drills.count import Count
from mmdet_retina_plus.common import output_files
from mmdet_retina_plus.synthetic.shapes import make_shapes
from tests.helpers.killed_trainings import build_runner, differences
from tests.helpers.killed_writes import halve, kill
from tests.helpers.processes import exit_codes

METRIC = 'coco/bbox_mAP'
MOMENTS = ('step', 'evaluation', 'write')
SECONDS = 0.5
"""Approximate duration of a step, and of an evaluation."""


@click.command()
@click.option('--kills', default=20, help='Number of kills.')
@click.option('--steps', default=24, help='Number of training steps.')
@click.option('--workers', default=(0, 2), multiple=True)
@click.option(
    '--processes', default=1, help='Number of processes that train together.'
)
@click.option('--seed', default=0, help='Random seed of the kills.')
def main(
    kills: int,
    steps: int,
    workers: tuple[int, ...],
    processes: int,
    seed: int,
) -> None:
    draws = random.Random(seed)
    torch.set_num_threads(1)
    count = Count()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_shapes(root / 'data', num=10, num_val=4, size=96)
        configs = {n: drill_config(root, n, steps) for n in set(workers)}
        whole = {}
        for num, config in configs.items():
            assert run(config, root / f'whole-{num}', processes) == 0
            whole[num] = outcome(root / f'whole-{num}')
        trainings = 0
        while count.tried.total() < kills:
            num = workers[trainings % len(workers)]
            work_dir = root / f'killed-{trainings}'
            trainings += 1
            of_this: Counter[str] = Counter()
            code: int | None = -signal.SIGKILL
            while code == -signal.SIGKILL:
                killer = None
                if (count.tried + of_this).total() < kills:
                    killer = KillAt(draws, processes)
                code = run(configs[num], work_dir, processes, killer)
                if code and killer is not None:
                    of_this[killer.moment] += 1
            count.tried += of_this
            found = [f'exit code {code}']
            if code == 0:
                found = list(differences(outcome(work_dir), whole[num]))
            if not found:
                count.survived += of_this
            click.echo(
                f'training {trainings}, {num} workers: {dict(of_this)} kills, '
                f'{len(found)} differences {found[:5]}'
            )
    count.conclude()


def drill_config(folder: Path, workers: int, steps: int) -> Config:
    """RetinaNet on images of 96 x 96 pixels, with mixup and EMA."""
    config = Config.fromfile(
        mmdet_retina_plus.config('retinanet_r18_fpn_shapes')
    )
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.dataset.data_root = str(folder / 'data')
        for transform in loader.dataset.pipeline:
            if transform.type == 'Resize':
                transform.scale = (96, 96)
    ann_file = folder / 'data' / 'instances_val.json'
    config.val_evaluator.ann_file = str(ann_file)
    config.train_dataloader.update(batch_size=2, num_workers=workers)
    config.val_dataloader.batch_size = 2
    config.train_cfg.update(max_iters=steps, val_interval=6)
    config.default_hooks.checkpoint.update(
        interval=3, max_keep_ckpts=1, save_best=METRIC
    )
    # After so few steps all scores are low.
    config.model.test_cfg.score_thr = 0.0
    config.model.bbox_head.loss_bbox.type = 'SelfAdjustingSmoothL1Loss'
    config.model.data_preprocessor.batch_augments = [dict(type='BatchMixUp')]
    config.custom_hooks.append(dict(type='EMAHook'))
    config.log_level = 'ERROR'
    return config


class KillAt(Hook):
    """Kill this process at a random moment."""

    priority = 'LOWEST'

    def __init__(self, draws: random.Random, processes: int) -> None:
        self.moment = draws.choice(MOMENTS)
        # Only the first process writes.
        self.rank = draws.randrange(processes) if self.moment != 'write' else 0
        self.count = draws.randrange(3)
        self.delay = draws.uniform(0, SECONDS)

    def before_run(self, runner: Runner) -> None:
        if self.moment == 'write':
            output_files.os.fsync = self.cut

    def before_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        self.reach('step')

    def before_val_iter(self, runner: Runner, *args, **kwargs) -> None:
        self.reach('evaluation')

    def reach(self, moment: str) -> None:
        if moment == self.moment:
            self.count -= 1
            if self.count < 0:
                threading.Timer(self.delay, kill).start()

    def cut(self, handle: int) -> None:
        """Replace the call that flushes a file: cut it in half and kill."""
        self.count -= 1
        if self.count < 0:
            halve(handle)
            kill()


def run(
    config: Config,
    work_dir: Path,
    processes: int,
    killer: KillAt | None = None,
) -> int | None:
    """Train in one or several processes; resume if there is a checkpoint.

    Returns:
        The exit code: that of SIGKILL if one process was killed and all others
        exited with an error. None if a process did not exit.
    """
    work_dir.mkdir(exist_ok=True)
    if processes == 1:
        # A fork has everything imported already.
        process = multiprocessing.get_context('fork').Process(
            target=train, args=(0, config, work_dir, killer)
        )
        process.start()
        process.join()
        return process.exitcode
    with tempfile.TemporaryDirectory() as folder:
        codes = exit_codes(
            processes, Path(folder), train, config, work_dir, killer
        )
    ended = [code for code in codes if code is not None]
    if len(ended) < processes:
        return None
    return min(ended) or max(ended)


def train(
    rank: int, config: Config, work_dir: Path, killer: KillAt | None
) -> None:
    # The log explains a training that does not survive.
    log = os.open(work_dir / 'log.txt', os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(log, stream)
    config.update(work_dir=str(work_dir), resume=True)
    config.experiment_name = f'drill-{os.getpid()}'
    runner = build_runner(config)
    if killer is not None and killer.rank == rank:
        runner.register_hook(killer)
    runner.train()


def outcome(work_dir: Path) -> dict[str, Any]:
    """Collect checkpoints and logs of a complete training.

    Returns:
        `last` checkpoint; `best` checkpoints by name; `logged` values without
        times, as a list by kind and step. A step that was trained twice has
        one item if both were logged alike.

    Raises:
        ValueError: It has no metric, or no best checkpoint.
    """
    logged: defaultdict[str, list[dict]] = defaultdict(list)
    for file in work_dir.glob('*/vis_data/scalars.json'):
        for line in file.read_text().splitlines():
            with suppress(ValueError):  # Truncated by a kill.
                record = json.loads(line)
                kind = 'metrics' if METRIC in record else 'losses'
                for key in [key for key in record if 'time' in key]:
                    del record[key]
                of_step = logged[f'{kind} {record["step"]}']
                if record not in of_step:
                    of_step.append(record)
    best = {file.name: torch.load(file) for file in work_dir.glob('best_*')}
    if not best or not any(key.startswith('metrics') for key in logged):
        raise ValueError(f'{work_dir} has no metric, or no best checkpoint')
    last = torch.load((work_dir / 'last_checkpoint').read_text())
    return dict(last=last, best=best, logged=dict(logged))


if __name__ == '__main__':
    main()

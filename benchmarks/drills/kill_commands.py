"""Kill predict, export, sweep run and mim train, and run them again.

    python -m benchmarks.drills.kill_commands
    python -m benchmarks.drills.kill_commands --kills 3 trained-sweep mim

SIGKILL arrives before each write, flush, removal and renaming of a file in
turn, and at random times. Then the command runs again, mim train with
--resume. A kill is survived if each file with a final name is complete and
from a single run, and if the repeated command gives the result of an
uninterrupted one. A sweep must not lose a trial or train one twice; its trials
are stubs of a second each. In trained-sweep, trials train detectors, and their
checkpoints must be bit-identical to those of an uninterrupted sweep, as must
the checkpoint of mim train.
"""

import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import click
import onnx
import torch
from mmdet.registry import MODELS

from benchmarks.drills.count import Count
from benchmarks.drills.kill_resume import drill_config, outcome
from mmdet_retina_plus.cli.export import main as export
from mmdet_retina_plus.inference.shards import COMMAND
from mmdet_retina_plus.synthetic.shapes import make_shapes
from tests.helpers.commands import invoke
from tests.helpers.detector_files import CLASSES, retinanet, write_config
from tests.helpers.image_files import noise
from tests.helpers.killed_predicts import KilledPredict
from tests.helpers.killed_trainings import differences
from tests.helpers.killed_writes import run_killed
from tests.helpers.seeing_detector import SeeingDetector

Attempt = Callable[..., tuple[int, Iterator[str]]]
SECONDS = dict(whole=0.6, part=0.6, export=8.0)
"""Approximate duration of a run."""


@click.command()
@click.argument('commands', nargs=-1)
@click.option(
    '--kills', default=10, help='Number of kills at random times per command.'
)
@click.option('--seed', default=0, help='Random seed of these times.')
def main(commands: tuple[str, ...], kills: int, seed: int) -> None:
    draws = random.Random(seed)
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    count = Count()
    with tempfile.TemporaryDirectory() as name:
        for command in commands or SCENES:
            folder = Path(name) / command
            folder.mkdir()
            for kind, faults in SCENES[command](folder, kills, draws):
                count.add(kind, faults)
    count.conclude()


def killed_predicts(
    folder: Path, kills: int, draws: random.Random
) -> Iterator[tuple[str, list[str]]]:
    """Yield the kind and the faults of each killed run."""
    MODELS.register_module(module=SeeingDetector)
    config = write_config(folder / 'seeing.py', dict(type='SeeingDetector'))
    checkpoint = folder / 'seeing.pth'
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(state_dict={}, meta=meta), checkpoint)
    scene = KilledPredict(folder, [str(config), str(checkpoint)])
    for kind in ('whole', 'part'):
        attempt = getattr(scene, kind)
        for where, faults in attempts(attempt, kills, SECONDS[kind], draws):
            yield f'predict, {kind}, {where}', faults


def attempts(
    attempt: Attempt, kills: int, seconds: float, draws: random.Random
) -> Iterator[tuple[str, list[str]]]:
    """Yield where each run was killed, and its faults."""
    at, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        code, faults = attempt(at=at)
        if code == -signal.SIGKILL:
            yield 'at a write', list(faults)
        at += 1
    killed = 0
    while killed < kills:
        code, faults = attempt(delay=draws.uniform(0, seconds))
        if code == -signal.SIGKILL:
            killed += 1
            yield 'at a random time', list(faults)


def killed_exports(
    folder: Path, kills: int, draws: random.Random
) -> Iterator[tuple[str, list[str]]]:
    """Do what `killed_predicts` does for exports that replace another."""
    detector = retinanet(folder)
    image = noise(folder / 'a.png', 0)
    out = folder / 'out.onnx'

    def run(name: str, *options: str) -> None:
        arguments = *detector, '--out', folder / name, '--images', image
        invoke(export, *arguments, '--overwrite', *options)

    # The parent must not start threads, so that its forks can export.
    for name, options in (('whole', ()), ('earlier', ('--raw',))):
        code = run_killed(lambda n=name, o=options: run(f'{n}.onnx', *o))
        assert code == 0
    earlier, whole = (
        (folder / f'{name}.onnx').read_bytes() for name in ('earlier', 'whole')
    )

    def attempt(**killed: Any) -> tuple[int, Iterator[str]]:
        out.write_bytes(earlier)
        return run_killed(lambda: run('out.onnx'), **killed), faults()

    def faults() -> Iterator[str]:
        content = out.read_bytes()
        if content not in (earlier, whole):
            yield 'a file that no run wrote'
        onnx.checker.check_model(onnx.load_from_string(content))
        if run_killed(lambda: run('out.onnx')) or out.read_bytes() != whole:
            yield 'a different result when run again'

    for where, found in attempts(attempt, kills, SECONDS['export'], draws):
        yield f'export, {where}', found


def killed_sweeps(
    folder: Path, kills: int, draws: random.Random
) -> Iterator[tuple[str, list[str]]]:
    """Yield the kind and the faults of sweeps whose two workers are killed."""
    # Imported here, since they import pytest and Optuna.
    from tests.sweeps.scenes import (
        BASE,
        GAMMAS,
        check_done,
        kill_at_random,
        make_plan,
        make_study,
    )

    slow = BASE.replace('per_second = 50', 'per_second = 10')
    for number in range(-(-kills // 5)):
        place = folder / str(number)
        place.mkdir()
        journal = str(place / 'study.log')
        plan = make_plan(GAMMAS, seeds=[0, 1], base=slow)
        study = make_study(journal, plan)
        found = []
        try:
            kill_at_random(study, journal, place, 5, draws)
            check_done(study, place)
        except AssertionError as error:
            found = [str(error)]
        for _ in range(5):
            yield 'sweep run, a worker', found


def trained_sweep(
    folder: Path, kills: int, draws: random.Random
) -> Iterator[tuple[str, list[str]]]:
    """Yield the kind and the faults of a sweep that is killed repeatedly."""
    make_shapes(folder / 'data', num=10, num_val=4, size=96)
    drill_config(folder, 0, 9).dump(folder / 'config.py')
    spec = folder / 'spec.py'
    spec.write_text(
        "config = './config.py'\n"
        "prefix = 'model.bbox_head.loss_cls.'\n"
        'points = [dict(gamma=1.0), dict(gamma=2.0)]\n'
    )

    def start(name: str) -> subprocess.Popen:
        return started(
            *('-c', COMMAND, 'sweep', 'run', spec),
            *('--work-dir', folder / name),
            log=folder / f'{name}.txt',
        )

    killed, code = kill_until_done(start, kills, draws)
    whole, found = (
        {
            path.parents[1].name.rpartition('_')[0]: outcome(path.parent)
            for path in (folder / name).glob('*/*/last_checkpoint')
        }
        for name in ('whole', 'killed')
    )
    faults = [*differences(found, whole)]
    if len(found) != 2 or code:
        faults.append(f'{len(found)} of 2 trials are complete')
    for _ in range(killed):
        yield 'sweep run, trained', faults


def killed_mim(
    folder: Path, kills: int, draws: random.Random
) -> Iterator[tuple[str, list[str]]]:
    """Yield the kind and the faults of a `mim train` killed repeatedly."""
    make_shapes(folder / 'data', num=10, num_val=4, size=96)
    config = folder / 'config.py'
    drill_config(folder, 2, 9).dump(config)
    # mim names the distribution: mmdet, or onedl-mmdetection.
    (mmdet,) = set(packages_distributions()['mmdet'])

    def start(name: str) -> subprocess.Popen:
        log = folder / f'{name}.txt'
        resume = ['--resume'] if log.exists() else []
        return started(
            *('-m', 'mim', 'train', mmdet, config),
            *('--work-dir', folder / name, *resume),
            log=log,
        )

    killed, code = kill_until_done(start, kills, draws)
    whole, found = (outcome(folder / name) for name in ('whole', 'killed'))
    faults = [*differences(found, whole)]
    if code:
        faults.append(f'exit code {code}')
    for _ in range(killed):
        yield 'mim train', faults


def started(*arguments: Any, log: Path) -> subprocess.Popen:
    """Start Python with these arguments, in its own process group."""
    with log.open('a') as output:
        return subprocess.Popen(
            [sys.executable, *arguments],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def kill_until_done(
    start: Callable[[str], subprocess.Popen], kills: int, draws: random.Random
) -> tuple[int, int]:
    """Kill and restart a command until a run completes.

    Args:
        start: Starts the command in a folder: once in 'whole', then in
            'killed' until it completes.
        kills: Maximum number of kills.
        draws: Draws the times.

    Returns:
        Number of kills, and the exit code of the run that completed.
    """
    began = time.monotonic()
    assert start('whole').wait() == 0
    seconds = time.monotonic() - began
    killed = 0
    while (process := start('killed')).poll() is None:
        with suppress(subprocess.TimeoutExpired):
            # Most of a run is start-up.
            left = None if killed == kills else draws.uniform(0, seconds / 2)
            process.wait(left)
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        killed += 1
    return killed, process.returncode


SCENES = {
    'predict': killed_predicts,
    'export': killed_exports,
    'sweep': killed_sweeps,
    'trained-sweep': trained_sweep,
    'mim': killed_mim,
}

if __name__ == '__main__':
    main()

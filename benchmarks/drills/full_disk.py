"""Run out of disk space while writing checkpoints, results, exports, studies.

    sudo python -m benchmarks.drills.full_disk
    python -m benchmarks.drills.full_disk --folder /mnt/small

Writes to a tmpfs of 64 MB, which only root can mount, or to a folder on
another small file system. A filler file leaves less space than the new file
needs. A write survives if the earlier file is unchanged, no partial file
remains, the error says that no space is left, and the command succeeds once
there is space again, a sweep with --retry-failed.
"""

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import torch

from benchmarks.drills.count import Count
from mmdet_retina_plus.cli.export import main as export
from tests.helpers.commands import invoke, predict
from tests.helpers.detector_files import retinanet
from tests.helpers.image_files import noise
from tests.helpers.killed_trainings import (
    Killer,
    differences,
    noisy_config,
    train,
)
from tests.helpers.killed_writes import run_killed

PARTS = (0, 0.1, 0.3, 0.5, 0.7, 0.9)
"""Free space as a fraction of what the new file needs."""
PAGES = (0, 1, 2, 3, 6, 12, 18, 24)
"""Free space for a sweep, in pages of 4096 bytes."""
Write = Callable[[], object]
Check = Callable[[], bool]


@click.command()
@click.option(
    '--folder',
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help='Folder on a small file system.  [default: mount a tmpfs]',
)
def main(folder: Path | None) -> None:
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    count = Count()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        with (
            small_disk(root / 'disk')
            if folder is None
            else given(folder) as disk
        ):
            for kind, prepare in SCENES.items():
                place = disk / kind
                place.mkdir()
                beside = root / kind
                beside.mkdir()
                file, size, write, check = prepare(place, beside)
                for part in PARTS:
                    faults = list(
                        attempt(file, int(part * size), write, check, beside)
                    )
                    count.add(kind, faults, f', {part} of the space')
            for left in PAGES:
                place = disk / f'sweep-{left}'
                place.mkdir()
                log = root / f'{left}.txt'
                faults = list(attempt_sweep(place, left * 4096, log))
                count.add('sweep', faults, f', {left} pages')
    count.conclude()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', str(folder)],
        check=True,
    )
    try:
        yield folder
    finally:
        subprocess.run(['umount', str(folder)], check=True)


@contextmanager
def given(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        yield Path(name)


@contextmanager
def nearly_full(place: Path, left: int) -> Iterator[None]:
    """Fill the disk of a folder until this number of bytes is left."""
    filler = place / 'filler'
    with filler.open('wb') as file:
        disk = os.statvfs(place)
        size = disk.f_bavail * disk.f_frsize - left
        os.posix_fallocate(file.fileno(), 0, size)
    try:
        yield
    finally:
        filler.unlink()


def attempt(
    file: Path, left: int, write: Write, check: Check, beside: Path
) -> Iterator[str]:
    """Yield the faults of a write to a nearly full disk.

    Args:
        file: Existing file that must stay.
        left: Number of free bytes.
        write: Writes the file, in a separate process.
        check: Whether the file is correct after writing with enough space.
        beside: Folder on another disk, for the output.
    """
    place = file.parent
    kept = beside / 'kept'
    shutil.copytree(place, kept)
    log = beside / 'log.txt'
    with nearly_full(place, left):
        code = run_killed(write, log=log)
    if code != 1:
        yield f'exit code {code}'
    if 'No space left' not in log.read_text():
        yield f'the error does not name the reason: {log.read_text()[-200:]}'
    before = (kept / file.name).read_bytes()
    if not file.exists() or file.read_bytes() != before:
        yield 'the earlier file is lost'
    if list(place.glob('*.part')):
        yield 'a partial file is left'
    if run_killed(write, log=log) or not check():
        yield 'a different result once there is space'
    shutil.rmtree(place)
    shutil.move(kept, place)
    log.unlink()


def attempt_sweep(place: Path, left: int, log: Path) -> Iterator[str]:
    """Yield the faults of a sweep on a nearly full disk; trials are stubs.

    Args:
        place: Folder of the sweep.
        left: Number of free bytes.
        log: File on another disk, for the output.
    """
    # Imported here, since they import pytest and Optuna.
    from mmdet_retina_plus.sweeps.trial_queue import SweepStudy
    from tests.sweeps.scenes import (
        GAMMAS,
        check_done,
        make_plan,
        make_study,
        work,
    )

    journal = str(place / 'study.log')
    plan = make_plan(GAMMAS)

    def study() -> SweepStudy:
        return SweepStudy(journal, 'scene', grace=2.0)

    def run() -> None:
        for event in work(study(), place):
            text = event.text.replace('\n', ' / ')
            click.echo(f'{event.kind} {event.name}: {text}')

    make_study(journal, plan)
    with nearly_full(place, left):
        run_killed(run, log=log)
    said = log.read_text().splitlines()
    failed = [line for line in said if line.startswith('failed')]
    for line in failed or said[-1:]:
        if 'No space left' not in line:
            yield f'the error does not name the reason: {line}'
    again = study()
    again.start(plan, retry_failed=True)
    work(again, place)
    try:
        check_done(again, place)
    except AssertionError as error:
        yield f'a different result once there is space: {error}'


def checkpoint(place: Path, beside: Path) -> tuple[Path, int, Write, Check]:
    config = noisy_config(default_hooks__checkpoint__max_keep_ckpts=1)
    run_killed(lambda: train(config, beside / 'whole'))
    run_killed(lambda: train(config, place, Killer('before_train_iter', 3)))
    file = place / 'iter_2.pth'

    def check() -> bool:
        whole, found = (
            torch.load(folder / 'iter_8.pth')
            for folder in (beside / 'whole', place)
        )
        return not list(differences(found, whole))

    size = file.stat().st_size
    return file, size, lambda: train(config, place, resume=True), check


def result(place: Path, beside: Path) -> tuple[Path, int, Write, Check]:
    detector = retinanet(beside)
    for number in range(6):
        noise(beside / 'images' / f'{number}.png', number)
    file = place / 'out.json'
    whole = beside / 'whole.json'

    def run(out: Path, *options: str) -> None:
        images = beside / 'images'
        predict(images, *detector, '--out', out, *options)

    run_killed(lambda: run(file, '--score-thr', '0.5'))
    return written(run, file, whole)


def exported(place: Path, beside: Path) -> tuple[Path, int, Write, Check]:
    detector = retinanet(beside)
    image = noise(beside / 'a.png', 0)
    file, whole = place / 'out.onnx', beside / 'whole.onnx'

    def run(out: Path, *options: str) -> None:
        arguments = *detector, '--out', out, '--images', image, '--overwrite'
        invoke(export, *arguments, *options)

    run_killed(lambda: run(file, '--raw'))
    return written(run, file, whole)


def written(
    run: Callable[[Path], None], file: Path, whole: Path
) -> tuple[Path, int, Write, Check]:
    """Prepare a command for `attempt`, with its output on another disk.

    Args:
        run: Runs the command with an output file; raises AssertionError if it
            fails.
        file: Output file on the small disk.
        whole: Output file on the other disk, for comparison.
    """

    def write() -> None:
        try:
            run(file)
        except AssertionError as error:
            click.echo(error)  # Output of the command.
            raise SystemExit(1) from error

    run_killed(lambda: run(whole))
    return (
        file,
        whole.stat().st_size,
        write,
        lambda: file.read_bytes() == whole.read_bytes(),
    )


SCENES = dict(checkpoint=checkpoint, predict=result, export=exported)

if __name__ == '__main__':
    main()

"""`retina-plus sweep`: many trainings, and what they came to."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from .options import ManyValues, cfg_options_option, is_pair


class ManySeeds(ManyValues):
    takes = {'--cfg-options': is_pair, '--seeds': str.isdigit}


FOLDER = click.Path(file_okay=False, path_type=Path)
storage_option = click.option(
    '--storage',
    envvar='RETINA_PLUS_STORAGE',
    show_envvar=True,
    help='Where the study is kept: URL of a database as Optuna takes it, or a '
    'journal file on a disk that all workers share.  [default: study.log in '
    'the work dir]',
)
name_option = click.option(
    '--study-name', help='[default: name of the work dir]'
)
nproc_option = click.option(
    '--nproc',
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help='Processes of a training, each with a GPU of its own.',
)
jobs_option = click.option(
    '--jobs',
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help='Trainings at a time. GPUs are divided among them; on a CPU, cores.',
)
grace_option = click.option(
    '--grace',
    type=click.FloatRange(min=60),
    help='Seconds of silence after which the trial of another machine counts '
    'as lost, and for which a storage out of reach is waited for.  '
    '[default: 300]',
)


@click.group()
def main() -> None:
    """Train a config at many points, and compare."""


@main.command(cls=ManySeeds)
@click.argument(
    'spec', type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option('--work-dir', required=True, type=FOLDER)
@click.option(
    '--config',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Of your own, in place of the spec's.",
)
@click.option(
    '--seeds',
    multiple=True,
    type=click.IntRange(0, 2**31 - 1),
    metavar='INTEGER ...',
    help="Of each point.  [default: the spec's, or 0]",
)
@jobs_option
@nproc_option
@click.option(
    '--prune',
    is_flag=True,
    help='End a trial whose best metric is below the median of the finished '
    'ones at the same step, once five are complete.',
)
@click.option(
    '--retry-failed', is_flag=True, help='Run failed trials once more.'
)
@storage_option
@name_option
@grace_option
@click.option(
    '--launcher',
    type=click.Choice(['none', 'slurm']),
    default='none',
    show_default=True,
    help='slurm: submit an array of --jobs workers, and end.',
)
@click.option(
    '--sbatch',
    multiple=True,
    metavar='OPTION',
    help='For Slurm, such as --sbatch=--partition=gpu; may be repeated.',
)
@cfg_options_option
def run(
    spec: Path,
    config: Path | None,
    work_dir: Path,
    seeds: tuple[int, ...],
    storage: str | None,
    study_name: str | None,
    cfg_options: tuple[str, ...],
    launcher: str,
    retry_failed: bool,
    prune: bool,
    **options,
) -> None:
    """Train all points of SPEC with all seeds, below --work-dir.

    SPEC is a Python file, such as those in configs/sweeps: a config, a prefix
    of keys, points or a product of values, seeds. Every value is checked
    before the first training starts. Each training is a process of its own,
    with a folder of its own.

    The same command goes on where an earlier one stopped, however it ended:
    finished trials stay, interrupted ones resume from their last checkpoint.
    More points and seeds may be added. A failed trial is recorded and the
    rest goes on.
    """
    sbatch, grace = options['sbatch'], options['grace']
    if sbatch and launcher != 'slurm':
        raise click.UsageError('--sbatch needs --launcher slurm')
    try:
        plan = make_plan(spec, config, seeds, cfg_options, prune)
        work_dir = work_dir.absolute()
        work_dir.mkdir(parents=True, exist_ok=True)
        study = find_study(work_dir, storage, study_name, grace, new=True)
        anew = study.create(plan)
        study.recover()
        study.fill(retry_failed or anew)
    except (ValueError, ImportError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if launcher == 'slurm':
        submit(work_dir, storage, study_name, **options)
        return
    work(study, work_dir, options['jobs'], options['nproc'])


@main.command()
@click.argument('study', metavar='STUDY')
@click.option(
    '--work-dir', type=FOLDER, help='For the trials.  [default: STUDY]'
)
@click.option(
    '--folder',
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help='That paths in the config are relative to.  [default: where `sweep '
    'run` was started]',
)
@jobs_option
@nproc_option
@storage_option
@name_option
@grace_option
def worker(
    study: str,
    work_dir: Path | None,
    folder: Path | None,
    storage: str | None,
    study_name: str | None,
    jobs: int,
    nproc: int,
    grace: float,
) -> None:
    """Join the sweep STUDY from this machine, until no trial waits.

    STUDY is the work dir of `sweep run` on a disk that the machines share,
    or the study's name where --storage says where it is kept.
    """
    work_dir = (work_dir or Path(study)).absolute()
    try:
        found = find_study(Path(study), storage, study_name, grace)
        os.chdir(folder or found.plan().folder)
        work_dir.mkdir(parents=True, exist_ok=True)
    except (ValueError, ImportError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(
            f'{error}: name the folder by --folder'
        ) from error
    work(found, work_dir, jobs, nproc)


@main.command()
@click.argument('study', metavar='STUDY', type=FOLDER)
@click.option('--out', type=FOLDER, help='[default: STUDY/report]')
@storage_option
@name_option
def report(
    study: Path,
    out: Path | None,
    storage: str | None,
    study_name: str | None,
) -> None:
    """Tables and plots of the sweep STUDY, finished or not.

    STUDY is the work dir of `sweep run`, or the study's name where --storage
    says where it is kept. Writes a CSV file, a Markdown table, a page that
    needs no network, and its plots as PNG files.
    """
    from mmdet_retina_plus.sweeps.report import write_report

    out = out or study / 'report'
    try:
        result = find_study(study, storage, study_name).result()
        files = write_report(result, out)
    except (ValueError, ImportError, OSError) as error:
        raise click.ClickException(str(error)) from error
    for file in files:
        click.echo(file)


def make_plan(
    spec: Path,
    config: Path | None,
    seeds: tuple[int, ...],
    cfg_options: tuple[str, ...],
    prune: bool,
) -> Any:
    """Read and check what is to be trained.

    Raises:
        ValueError: The spec, the config or a value does not fit.
    """
    from dataclasses import replace

    from mmdet_retina_plus.common.config_file import open_config, parse_options
    from mmdet_retina_plus.sweeps.plan import Plan
    from mmdet_retina_plus.sweeps.spec import read_sweep
    from mmdet_retina_plus.sweeps.training import counts_epochs
    from mmdet_retina_plus.sweeps.value_checks import check_sweep, merge

    sweep = read_sweep(spec)
    sweep = replace(
        sweep,
        config=Path(os.path.normpath(config or sweep.config)),
        seeds=list(dict.fromkeys(seeds or sweep.seeds)),
    )
    _, cfg = merge(parse_options(cfg_options), open_config(sweep.config, ()))
    sweep = replace(sweep, points=check_sweep(sweep, cfg, prune))
    by_epoch = counts_epochs(cfg)
    return Plan(sweep, cfg.pretty_text, os.getcwd(), prune, by_epoch)


def find_study(
    work_dir: Path,
    storage: str | None,
    name: str | None,
    grace: float | None = None,
    new: bool = False,
) -> Any:
    """The study of a work dir, in its journal if no storage is named.

    Args:
        work_dir: Its name is the study's, unless its journal has just one.
        storage: Path of a journal, or URL of a database.
        name: Of the study.
        grace: Seconds, see SweepStudy.
        new: Whether the study may be missing.

    Raises:
        ValueError: There is no such folder or journal.
    """
    from mmdet_retina_plus.sweeps.trial_queue import GRACE, JOURNAL, SweepStudy

    if storage is None and not work_dir.is_dir():
        raise ValueError(
            f'{work_dir} is no folder: name the work dir of a sweep, or say '
            'by --storage where the study is kept'
        )
    # A worker may change its folder later.
    journal = Path(storage or work_dir / JOURNAL).absolute()
    url = storage if storage and '://' in storage else None
    if not url and not new and not journal.is_file():
        raise ValueError(
            f'There is no {journal}: name the work dir of a sweep, or say by '
            '--storage where the study is kept'
        )
    study = SweepStudy(
        url or str(journal),
        name or work_dir.resolve().name,
        grace or GRACE,
    )
    names = study.names() if storage is None and name is None else []
    if names and study.name not in names:
        if len(names) > 1:
            raise ValueError(
                f'{journal} has the studies {", ".join(names)}: name one by '
                '--study-name'
            )
        # The folder had another name when the sweep began.
        study.name = names[0]
    return study


def submit(
    work_dir: Path, storage: str | None, study_name: str | None, **options
) -> None:
    """Write a job script for Slurm and submit it."""
    from mmdet_retina_plus.sweeps.slurm import submit_array

    try:
        answer = submit_array(work_dir, storage, study_name, **options)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(answer)
    click.echo(f'`retina-plus sweep report {work_dir}` shows how it goes')


def work(study: Any, work_dir: Path, jobs: int, nproc: int) -> None:
    """Run workers in this process and show how it goes."""
    from rich.console import Console

    from mmdet_retina_plus.sweeps.progress import Display, summary
    from mmdet_retina_plus.sweeps.worker import (
        Worker,
        make_slots,
        visible_gpus,
        work_all,
    )

    # Slurm and `kill` end a worker like Ctrl-C: it gives its trials back.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        slots = make_slots(jobs, nproc, visible_gpus())
        display = Display(study, Console(), jobs)
        workers = [
            Worker(study, work_dir, slot, display.tell) for slot in slots
        ]
        with display:
            work_all(workers)
    except KeyboardInterrupt:
        click.echo(
            'Interrupted; all that was trained is kept, the same command goes '
            'on from here.',
            err=True,
        )
        sys.exit(130)
    except (ValueError, ImportError, OSError) as error:
        raise click.ClickException(str(error)) from error
    result = study.result()
    click.echo(summary(result, jobs))
    failed = [trial for trial in result.trials if trial.state == 'failed']
    if failed:
        raise click.ClickException(
            f'{len(failed)} of the trials failed: `retina-plus sweep report '
            f'{work_dir}` lists their errors, --retry-failed runs them again'
        )


def interrupt(*_) -> None:
    click.echo('Ending the trainings, their trials go back …', err=True)
    raise KeyboardInterrupt

"""`retina-plus sweep`: run many trainings and report their results."""

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmdet_retina_plus.common.config_tree import LAST_SEED

from .errors import errors_as_messages
from .options import InputFile, ManyValues, cfg_options_option, is_pair

if TYPE_CHECKING:
    from mmdet_retina_plus.sweeps.trial_queue import SweepStudy


class ManySeeds(ManyValues):
    takes = {'--cfg-options': is_pair, '--seeds': str.isdigit}


FOLDER = click.Path(file_okay=False, path_type=Path)
storage_option = click.option(
    '--storage',
    envvar='RETINA_PLUS_STORAGE',
    show_envvar=True,
    help='Storage of the study: URL of a database for Optuna, or a journal '
    'file on a disk that all workers share.  [default: study.log in the work '
    'dir]',
)
name_option = click.option(
    '--study-name', help='[default: name of the work dir]'
)
nproc_option = click.option(
    '--nproc',
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help='Processes per training, each with its own GPU.',
)
jobs_option = click.option(
    '--jobs',
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help='Simultaneous trainings. They share the GPUs, or the CPU cores.',
)
grace_option = click.option(
    '--grace',
    type=click.FloatRange(min=60),
    help='Seconds without a heartbeat after which the trial of another '
    'machine counts as lost; also how long to wait for the storage.  '
    '[default: 300]',
)


@click.group()
def main() -> None:
    """Train a config at many points and compare them."""


@main.command(cls=ManySeeds)
@click.argument('spec', type=InputFile(Path))
@click.option('--work-dir', required=True, type=FOLDER)
@click.option(
    '--config',
    type=InputFile(Path),
    help='Config to use instead of that of the spec.',
)
@click.option(
    '--seeds',
    multiple=True,
    type=click.IntRange(0, LAST_SEED),
    metavar='INTEGER ...',
    help="Seeds of each point.  [default: the spec's, or 0]",
)
@jobs_option
@nproc_option
@click.option(
    '--prune',
    is_flag=True,
    help='End a trial whose best metric is below the median of the finished '
    'ones at the same step, once five are complete.',
)
@click.option('--retry-failed', is_flag=True, help='Run failed trials again.')
@storage_option
@name_option
@grace_option
@click.option(
    '--launcher',
    type=click.Choice(['none', 'slurm']),
    default='none',
    show_default=True,
    help='slurm: submit an array of --jobs workers and exit.',
)
@click.option(
    '--sbatch',
    multiple=True,
    metavar='OPTION',
    help='Option of sbatch, such as --sbatch=--partition=gpu; may be '
    'repeated.',
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

    SPEC is a Python file like those in configs/sweeps: a config, a prefix of
    keys, points or a product of values, seeds. Every value is checked before
    the first training starts. Each training has its own process and folder.

    The same command resumes an earlier one, however it ended: finished trials
    stay, interrupted ones resume from their last checkpoint. Points and seeds
    may be added. A failed trial is recorded, and the others continue.
    """
    sbatch, grace = options['sbatch'], options['grace']
    if sbatch and launcher != 'slurm':
        raise click.UsageError('--sbatch needs --launcher slurm')
    with errors_as_messages():
        from mmdet_retina_plus.sweeps.find_study import find_study
        from mmdet_retina_plus.sweeps.plan import make_plan
        from mmdet_retina_plus.sweeps.slurm import submit_array

        plan = make_plan(spec, config, seeds, cfg_options, prune)
        work_dir = work_dir.absolute()
        work_dir.mkdir(parents=True, exist_ok=True)
        study = find_study(work_dir, storage, study_name, grace, new=True)
        study.start(plan, retry_failed)
        if launcher == 'slurm':
            click.echo(submit_array(work_dir, storage, study_name, **options))
            click.echo(
                f'`retina-plus sweep report {work_dir}` shows the progress'
            )
            return
    work(study, work_dir, options['jobs'], options['nproc'])


@main.command()
@click.argument('study', metavar='STUDY')
@click.option(
    '--work-dir',
    type=FOLDER,
    help='Folder of the trials.  [default: STUDY]',
)
@click.option(
    '--folder',
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help='Folder that paths in the config are relative to.  [default: current '
    'folder of `sweep run`]',
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
    """Run trials of the sweep STUDY on this machine until none waits.

    STUDY is the work dir of `sweep run` on a disk that the machines share, or
    the name of the study with --storage.
    """
    work_dir = (work_dir or Path(study)).absolute()
    with errors_as_messages():
        from mmdet_retina_plus.sweeps.find_study import find_study

        try:
            found = find_study(Path(study), storage, study_name, grace)
            os.chdir(folder or found.plan().folder)
            work_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f'{error}: set the folder with --folder'
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
    """Write tables and plots of the sweep STUDY, finished or not.

    STUDY is the work dir of `sweep run`, or the name of the study with
    --storage. Writes a CSV file, a Markdown table, a page that works offline,
    and its plots as PNG files.
    """
    out = out or study / 'report'
    with errors_as_messages():
        from mmdet_retina_plus.sweeps.find_study import find_study
        from mmdet_retina_plus.sweeps.report import write_report

        result = find_study(study, storage, study_name).result()
        files = write_report(result, out)
    for file in files:
        click.echo(file)


def work(study: 'SweepStudy', work_dir: Path, jobs: int, nproc: int) -> None:
    """Work until no trial waits, then print the summary."""
    from mmdet_retina_plus.sweeps.progress import summary_line, work_and_show

    # SIGTERM of Slurm and `kill` acts like Ctrl-C: trials return to the queue.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        with errors_as_messages():
            result = work_and_show(study, work_dir, jobs, nproc)
    except KeyboardInterrupt:
        click.echo(
            'Interrupted; all results and checkpoints are kept. Run the same '
            'command to resume.',
            err=True,
        )
        sys.exit(130)
    click.echo(summary_line(result, jobs))
    failed = [trial for trial in result.trials if trial.state == 'failed']
    if failed:
        raise click.ClickException(
            f'{len(failed)} of the trials failed: `retina-plus sweep report '
            f'{work_dir}` lists their errors, --retry-failed runs them again'
        )


def interrupt(*_) -> None:
    click.echo('Stopping the trainings …', err=True)
    raise KeyboardInterrupt

"""Workers of a sweep as an array job of Slurm."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SCRIPT = 'workers.sbatch'


def submit_array(
    work_dir: Path,
    storage: str | None,
    study_name: str | None,
    jobs: int,
    nproc: int,
    grace: float | None,
    sbatch: Sequence[str],
) -> str:
    """Write the job script into the work dir and submit it.

    A database's URL may hold a password, so it is passed by the job's
    environment, which Slurm copies, and not written to a file.

    Args:
        work_dir: Folder on a disk that the nodes share.
        storage: Option of `sweep run`; None is the journal in the work dir.
        study_name: Option of `sweep run`.
        jobs: Number of tasks in the array, one worker each.
        nproc: Processes of a training.
        grace: Option of the workers.
        sbatch: Options of sbatch, each on its own line in the script.

    Returns:
        Slurm's answer.

    Raises:
        ValueError: sbatch is missing or refused the script, which stays.
    """
    work_dir = work_dir.resolve()
    worker = ['sweep', 'worker', str(work_dir)]
    if study_name is not None:
        worker.append(f'--study-name={study_name}')
    worker.append(f'--nproc={nproc}')
    if grace is not None:
        worker.append(f'--grace={grace}')
    script = work_dir / SCRIPT
    script.write_text(
        job_script(work_dir, [program(), *worker], jobs, sbatch),
        encoding='utf-8',
    )
    if shutil.which('sbatch') is None:
        raise ValueError(
            f'There is no sbatch on this machine: submit {script} where there '
            'is one'
        )
    environment = dict(os.environ)
    if storage is not None:
        environment['RETINA_PLUS_STORAGE'] = storage
    done = subprocess.run(
        ['sbatch', str(script)],
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode:
        raise ValueError(
            f'sbatch refused {script}: {done.stderr.strip()}; fix it with '
            '--sbatch=OPTION'
        )
    return done.stdout.strip()


def job_script(
    work_dir: Path, worker: Sequence[str], jobs: int, sbatch: Sequence[str]
) -> str:
    """The text of the array's script."""
    options = [
        '--job-name=retina-plus-sweep',
        f'--array=0-{jobs - 1}',
        # Slurm reads quotes here like a shell.
        f'--output="{work_dir}/slurm-%A_%a.log"',
        # A minute before its time is up, a worker returns its trial to the
        # queue, so that no work is lost.
        '--signal=B:TERM@60',
        *sbatch,
    ]
    lines = [f'#SBATCH {option}' for option in options]
    # `exec`, so that the worker gets the signal and not the shell.
    return '\n'.join(['#!/bin/sh', *lines, f'exec {shlex.join(worker)}', ''])


def program() -> str:
    """The command `retina-plus` of this environment."""
    beside = Path(sys.executable).with_name('retina-plus')
    return str(beside) if beside.is_file() else 'retina-plus'

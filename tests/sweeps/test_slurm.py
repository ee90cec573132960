"""Workers as an array job, on a real Slurm of one node where there is one."""

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmdet_retina_plus.sweeps import slurm
from mmdet_retina_plus.sweeps.slurm import SCRIPT, submit_array
from tests.sweeps.scenes import (
    ENDLESS,
    GAMMAS,
    check_done,
    make_plan,
    make_study,
    wait_for,
)

PROGRAMS = ('munged', 'slurmctld', 'slurmd', 'sbatch', 'squeue', 'scancel')
SEARCH = os.pathsep.join([os.environ['PATH'], '/usr/sbin'])
missing = [name for name in PROGRAMS if not shutil.which(name, path=SEARCH)]
needs_slurm = pytest.mark.skipif(
    bool(missing),
    reason='needs Slurm on this machine, has no '
    f'{", ".join(missing)}: apt-get install slurm-wlm munge',
)
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=30
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def submit(work_dir: Path, **changes) -> str:
    options = dict(
        storage=None, study_name=None, jobs=2, nproc=1, grace=90.0, sbatch=[]
    )
    return submit_array(work_dir, **options | changes)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(('127.0.0.1', 0))
        return [one.getsockname()[1] for one in sockets]


def call(*command: str) -> str:
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=60
    ).stdout


@pytest.fixture(scope='module')
def cluster() -> Iterator[Path]:
    """A controller, a node and their keys, all in one folder of our own."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix='slurm') as name,
    ):
        folder = Path(name)
        patch.setenv('PATH', SEARCH)
        patch.setenv('SLURM_CONF', f'{folder}/slurm.conf')
        folder.chmod(0o755)
        for part in ('state', 'spool'):
            (folder / part).mkdir()
        (folder / 'slurm.conf').write_text(
            CONFIG.format(
                folder=folder,
                ports=free_ports(2),
                host=socket.gethostname().partition('.')[0],
                user=call('id', '-un').strip(),
            )
        )
        key = folder / 'munge.key'
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        munge = ['key-file', 'socket', 'pid-file', 'log-file', 'seed-file']
        ends = ['key', 'sock', 'pid', 'log', 'seed']
        call(
            'munged',
            '--force',
            *(
                f'--{option}={folder}/munge.{end}'
                for option, end in zip(munge, ends, strict=True)
            ),
        )
        call('slurmctld', '-i')
        call('slurmd')
        try:
            wait_for(
                lambda: 'idle' in call('sinfo', '-h', '-o', '%T'),
                'Slurm does not start, see its log',
                90,
            )
            yield folder
        finally:
            for pid in folder.glob('*.pid'):
                os.kill(int(pid.read_text()), 15)
            wait_for(
                lambda: not list(folder.glob('slurm*.pid')),
                'Slurm goes on',
                90,
            )


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A `retina-plus` whose trainings are stand-ins."""
    program = tmp_path / 'retina-plus'
    program.write_text(
        f'#!{sys.executable}\n'
        'import sys\n'
        f'sys.path[:0] = {sys.path!r}\n'
        'from tests.sweeps.scenes import STAND_IN\n'
        'from mmdet_retina_plus.sweeps import training, worker\n'
        'from mmdet_retina_plus.cli.main import main\n'
        'training.train_script = lambda: STAND_IN\n'
        'worker.POLL = 0.05\n'
        'main()\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(slurm, 'program', lambda: str(program))


@needs_slurm
def test_an_array_of_workers_does_the_sweep(cluster, stand_in, tmp_path):
    work_dir = tmp_path / 'my sweep'
    work_dir.mkdir()
    plan = make_plan(GAMMAS, folder=str(tmp_path))
    study = make_study(str(work_dir / 'study.log'), plan, name='my sweep')
    said = submit(work_dir, sbatch=['--partition=main', '--cpus-per-task=1'])
    assert said.startswith('Submitted batch job')
    wait_for(lambda: not call('squeue', '-h'), 'the array does not end', 90)
    check_done(study, work_dir)
    logs = list(work_dir.glob('slurm-*.log'))
    assert len(logs) == 2
    assert any('complete' in log.read_text() for log in logs)


@needs_slurm
def test_a_cancelled_job_gives_its_trial_back(cluster, stand_in, tmp_path):
    work_dir = tmp_path / 'sweep'
    work_dir.mkdir()
    plan = make_plan(GAMMAS[:1], folder=str(tmp_path), base=ENDLESS)
    study = make_study(str(work_dir / 'study.log'), plan, name='sweep')
    job = submit(work_dir, jobs=1).split()[-1]
    wait_for(
        lambda: list(work_dir.glob('*/*/iter_*.pth')), 'nothing trains', 90
    )
    # As before the end of its time: to the batch shell, which is the worker.
    call('scancel', '--batch', '--signal=TERM', job)
    wait_for(lambda: not call('squeue', '-h'), 'the job does not end', 90)
    assert [x.state for x in study.result().trials] == ['waiting']


def test_the_script_names_no_secret_and_quotes_what_it_names(
    tmp_path, monkeypatch
):
    sbatch = tmp_path / 'sbatch'
    sbatch.write_text('#!/bin/sh\necho "$RETINA_PLUS_STORAGE"\n')
    sbatch.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    work_dir = tmp_path / 'a sweep'
    work_dir.mkdir()
    url = 'postgresql://me:secret@host/db'
    said = submit(
        work_dir, storage=url, study_name='my study', sbatch=['--mem=8G']
    )
    assert said == url
    text = (work_dir / SCRIPT).read_text()
    assert 'secret' not in text
    assert '#SBATCH --mem=8G\n' in text
    assert '#SBATCH --array=0-1\n' in text
    command = shlex.split(text.splitlines()[-1])
    assert command[0] == 'exec'
    assert str(work_dir) in command
    assert '--study-name=my study' in command


def test_where_there_is_no_sbatch_the_script_stays(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(ValueError, match='no sbatch'):
        submit(tmp_path)
    assert (tmp_path / SCRIPT).is_file()


def test_what_sbatch_says_is_passed_on(tmp_path, monkeypatch):
    sbatch = tmp_path / 'sbatch'
    sbatch.write_text('#!/bin/sh\necho "invalid partition" >&2\nexit 1\n')
    sbatch.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    with pytest.raises(ValueError, match='invalid partition'):
        submit(tmp_path)

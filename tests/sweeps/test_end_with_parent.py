"""A run ends with its worker, however that ends."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mmdet_retina_plus.sweeps import end_with_parent
from mmdet_retina_plus.sweeps.trial_config import write_config
from mmdet_retina_plus.sweeps.trial_folder import try_lock
from tests.sweeps.scenes import ENDLESS, STAND_IN, checkpoints, wait_for


def test_a_run_ends_with_its_worker_however_that_ends(tmp_path):
    """SIGKILL gives a worker no chance to end its run; the pipe does."""
    write_config(ENDLESS, {}, 0, tmp_path)
    worker = start_worker(tmp_path, STAND_IN, nproc=1)
    wait_for(checkpoints(tmp_path), 'nothing trains', 60)
    worker.kill()
    worker.wait()
    with (tmp_path / 'lock').open() as lock:
        wait_for(lambda: try_lock(lock.fileno()), 'the run goes on')


def test_all_processes_of_torchrun_end_with_their_worker(tmp_path):
    """It gives each a session of its own, which no signal to ours meets."""
    script = tmp_path / 'rank.py'
    script.write_text(
        'import os, sys, time\n'
        'from pathlib import Path\n'
        "name = 'rank-' + os.environ['RANK']\n"
        'Path(sys.argv[3], name).write_text(str(os.getpid()))\n'
        'time.sleep(300)\n'
    )
    worker = start_worker(tmp_path, script, nproc=2)
    files = [tmp_path / 'rank-0', tmp_path / 'rank-1']
    wait_for(
        lambda: all(x.is_file() and x.read_text() for x in files),
        'torchrun starts no processes',
        100,
    )
    ranks = [psutil.Process(int(file.read_text())) for file in files]
    worker.kill()
    worker.wait()
    wait_for(lambda: not any(map(is_running, ranks)), 'processes go on')


def is_running(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def start_worker(folder: Path, script: Path, nproc: int) -> subprocess.Popen:
    """A process that trains by folder/trial.py and then waits."""
    code = f"""
import time
from pathlib import Path
from mmdet_retina_plus.sweeps import training
from mmdet_retina_plus.sweeps.slots import Slot
from mmdet_retina_plus.sweeps.trial_folder import locked
training.train_script = lambda: Path({str(script)!r})
folder = Path({str(folder)!r})
with locked(folder / 'lock') as lock:
    slot = Slot(nproc={nproc})
    training.Training(folder / 'trial.py', folder, slot, lock)
    time.sleep(300)
"""
    return subprocess.Popen(
        [sys.executable, '-c', code],
        env=os.environ | dict(MMDET_RETINA_PLUS_REGISTER='0'),
    )


@pytest.mark.parametrize('safe_path', ['', '1'])
def test_a_program_finds_what_it_would_find_alone(tmp_path, safe_path):
    """In safe-path mode, too, where Python puts no folder first."""
    for name in ('listed', 'beside'):
        (tmp_path / name).mkdir()
    (tmp_path / 'listed' / 'helper.py').touch()
    program = tmp_path / 'beside' / 'program.py'
    program.write_text('import helper, sys\nprint(*sys.path, sep="\\n")\n')
    # The pipe stays open, so nothing ends the program.
    reading, _ = pipe = os.pipe()
    result = subprocess.run(
        [sys.executable, end_with_parent.__file__, str(reading), program],
        env=os.environ
        | dict(PYTHONPATH=str(tmp_path / 'listed'), PYTHONSAFEPATH=safe_path),
        pass_fds=(reading,),
        capture_output=True,
        text=True,
        timeout=60,
    )
    for end in pipe:
        os.close(end)
    assert result.stderr == ''
    places = result.stdout.splitlines()
    assert places[:2] == [str(program.parent), str(tmp_path / 'listed')]
    assert str(Path(end_with_parent.__file__).parent) not in places


def test_no_module_beside_it_has_a_name_that_it_imports():
    """It is started by its path, so that it finds those beside it first."""
    beside = {
        file.stem
        for file in Path(end_with_parent.__file__).parent.glob('*.py')
    }
    assert 'end_with_parent' in beside
    assert not beside & {*sys.stdlib_module_names, 'psutil'}

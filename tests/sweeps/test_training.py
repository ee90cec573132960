"""Laws of one training run of a sweep, with a stand-in for mmdet's script."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zipfile import ZipFile

import psutil
import pytest

from mmdet_retina_plus.sweeps import training
from mmdet_retina_plus.sweeps.training import (
    TRACEBACK,
    Progress,
    Slot,
    Training,
    find_checkpoint,
    folder_name,
    last_words,
    locked,
    read_config,
    read_progress,
    train_command,
    train_script,
    try_lock,
    write_config,
)
from tests.sweeps.scenes import BASE, STAND_IN

ENDLESS = BASE.replace('max_iters=10', 'max_iters=100000')
ITERATIONS = dict(train_cfg=dict(type='IterBasedTrainLoop', max_iters=10))
EPOCHS = dict(train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=12))


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a stand-in that trains by a config's text."""
    monkeypatch.setattr(training, 'train_script', lambda: STAND_IN)
    started = []

    def start(base: str) -> Training:
        config = write_config(base, {}, 0, tmp_path)
        lock = os.open(tmp_path / 'lock', os.O_CREAT | os.O_RDWR)
        assert try_lock(lock)
        started.append(Training(config, tmp_path, Slot(), lock))
        os.close(lock)
        return started[-1]

    yield start
    for run in started:
        if run.process.returncode is None:
            run.stop()


def wait_for(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, 'it never happened'
        time.sleep(0.02)


def checkpoints(folder: Path):
    return lambda: list(folder.glob('iter_*.pth'))


def write_log(folder: Path, *records: dict) -> None:
    log = folder / str(len(list(folder.iterdir()))) / 'vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text(''.join(json.dumps(record) + '\n' for record in records))


def test_the_script_is_mmdets_own():
    assert train_script().name == 'train.py'
    assert 'runner.train()' in train_script().read_text()


def test_a_trials_config_has_its_changes_and_its_seed(tmp_path):
    from mmengine.config import Config

    changes = {'model.gamma': 0.5, 'train_cfg.max_iters': 3}
    cfg = Config.fromfile(write_config(BASE, changes, 7, tmp_path))
    assert cfg.model.gamma == 0.5
    assert cfg.model.alpha == 0.25
    assert cfg.train_cfg.max_iters == 3
    assert cfg.randomness.seed == 7


def test_configs_are_read_one_at_a_time(monkeypatch):
    """Python 3.11's parser fails where two threads are in it, now and then."""
    inside, most = [], []

    def parse(text, _):
        inside.append(text)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()

    monkeypatch.setattr('mmengine.config.Config.fromstring', parse)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_config, [BASE] * 8))
    assert most == [1] * 8


def test_the_end_of_a_run_and_its_output_are_seen(start):
    run = start(BASE.replace('fails=False', 'fails=True'))
    assert run.has_ended(20)
    assert run.process.returncode == 3
    where, first, last = run.error().splitlines()
    assert where.startswith('Exit code 3')
    assert first == 'an early line'
    assert last == 'ValueError: the model fails'


def test_what_was_said_before_a_traceback_is_kept_and_its_frames_are_not():
    frames = ['  File "a.py", line 1, in b\n', '    raise c\n'] * 9
    output = ['much\n', 'loss become infinite or NaN!\n', '\n']
    output += [f'{TRACEBACK}:\n', *frames, 'AssertionError: None\n']
    words = ['much', 'loss become infinite or NaN!', 'AssertionError: None']
    assert last_words(output) == words
    assert last_words(['before\n', *output]) == words
    assert last_words([]) == []


def test_the_first_line_of_a_long_exception_is_kept():
    output = [f'{TRACEBACK}:\n', '  File "a.py", line 1, in b\n']
    output += ['OperationalError: no such table\n', '[SQL:\n']
    output += [f'clause {number}\n' for number in range(9)]
    assert last_words(output) == [
        'OperationalError: no such table',
        *('clause 6', 'clause 7', 'clause 8'),
    ]
    # One that was logged and survived is no reason, nor what Python ignores.
    caught = [f'{TRACEBACK}:\n', '  frame\n', 'KeyError: caught\n']
    line = '11/21 04:59:35 - mmengine - INFO - Iter(train) [50/100]\n'
    assert last_words([*caught, *[line] * 9, 'Killed\n']) == [
        *[line.strip()] * 2,
        'Killed',
    ]
    ignored = ['Exception ignored in: <function f>\n', *caught]
    assert last_words([*output, *ignored])[0] == output[2].strip()
    # Another that was caught earlier is not the reason.
    assert last_words([*caught, *output]) == last_words(output)


def test_the_lock_is_held_as_long_as_the_run_lives(start, tmp_path):
    run = start(ENDLESS)
    with (tmp_path / 'lock').open() as lock:
        assert not try_lock(lock.fileno())
        run.stop()
        assert try_lock(lock.fileno())


def test_a_run_that_does_not_listen_is_ended(start, tmp_path, monkeypatch):
    monkeypatch.setattr(training, 'PATIENCE', 0.2)
    run = start(ENDLESS + 'listens = False')
    wait_for(checkpoints(tmp_path))
    run.stop()
    assert run.process.returncode == -signal.SIGKILL


def start_worker(folder: Path, script: Path, nproc: int) -> subprocess.Popen:
    """A process that trains by folder/trial.py and then waits."""
    code = f"""
import time
from pathlib import Path
from mmdet_retina_plus.sweeps import training
training.train_script = lambda: Path({str(script)!r})
folder = Path({str(folder)!r})
with training.locked(folder / 'lock') as lock:
    slot = training.Slot(nproc={nproc})
    training.Training(folder / 'trial.py', folder, slot, lock)
    time.sleep(300)
"""
    return subprocess.Popen(
        [sys.executable, '-c', code],
        env=os.environ | dict(MMDET_RETINA_PLUS_REGISTER='0'),
    )


def test_a_run_ends_with_its_worker_however_that_ends(tmp_path):
    """SIGKILL gives a worker no chance to end its run; the pipe does."""
    write_config(ENDLESS, {}, 0, tmp_path)
    worker = start_worker(tmp_path, STAND_IN, nproc=1)
    wait_for(checkpoints(tmp_path), 60)
    worker.kill()
    worker.wait()
    with (tmp_path / 'lock').open() as lock:
        wait_for(lambda: try_lock(lock.fileno()))


def test_a_run_resumes_from_the_checkpoint_that_it_is_given(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(training, 'train_script', lambda: STAND_IN)
    with ZipFile(tmp_path / 'iter_7.pth', 'w') as checkpoint:
        checkpoint.writestr('step', '7')
    config = write_config(BASE, {}, 0, tmp_path)
    command = train_command(config, tmp_path, 1, tmp_path / 'iter_7.pth')
    subprocess.run([sys.executable, *command], check=True, timeout=60)
    progress = read_progress(tmp_path, ITERATIONS, 'coco/bbox_mAP')
    assert (progress.step, list(progress.curve)) == (10, [10])


def test_the_last_checkpoint_counts_once_it_was_validated(tmp_path):
    for name in (
        'iter_5',
        'iter_10',
        'best_coco_bbox_mAP_iter_10',
        'epoch_99',
    ):
        ZipFile(tmp_path / f'{name}.pth', 'w').close()
    # Cut short by a kill.
    (tmp_path / 'iter_11.pth').write_bytes(b'PK')
    done = Progress(10, 10, {5: 0.1, 10: 0.2})
    assert find_checkpoint(tmp_path, done) == tmp_path / 'iter_10.pth'
    lost = Progress(10, 10, {5: 0.1})
    assert find_checkpoint(tmp_path, lost) == tmp_path / 'iter_5.pth'
    (tmp_path / 'iter_5.pth').unlink()
    assert find_checkpoint(tmp_path, lost) is None
    assert find_checkpoint(tmp_path / 'none', lost) is None


def test_a_folder_in_use_by_another_process_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(training, 'PATIENCE', 0.2)
    with (
        locked(tmp_path / 'lock'),
        pytest.raises(ValueError, match='Another process'),
        locked(tmp_path / 'lock'),
    ):
        pass


def test_steps_are_those_of_the_log_over_all_resumptions(tmp_path):
    metric = 'coco/bbox_mAP'
    write_log(
        tmp_path,
        dict(loss=1.0, step=4, iter=4),
        {metric: 0.1, 'step': 5},
        dict(loss=1.0, step=6, iter=6),
        {metric: 0.3, 'step': 7},
    )
    # Resumed from step 5.
    write_log(
        tmp_path, dict(loss=1.0, step=6, iter=6), {metric: 0.2, 'step': 7}
    )
    progress = read_progress(tmp_path, ITERATIONS, metric)
    assert progress.curve == {5: 0.1, 7: 0.2}
    assert (progress.step, progress.steps) == (7, 10)


def test_a_run_of_epochs_counts_epochs(tmp_path):
    metric = 'coco/bbox_mAP'
    write_log(
        tmp_path,
        dict(loss=1.0, epoch=1, iter=50, step=50),
        {metric: 0.1, 'step': 1},
        dict(loss=1.0, epoch=2, iter=150, step=150),
    )
    progress = read_progress(tmp_path, EPOCHS, metric)
    assert progress.curve == {1: 0.1}
    assert (progress.step, progress.steps) == (1, 12)


def test_half_a_line_of_a_log_waits_for_its_other_half(tmp_path):
    write_log(tmp_path, dict(loss=1.0, step=4))
    (log,) = tmp_path.glob('*/vis_data/scalars.json')
    log.write_text(log.read_text() + '{"loss": 1.')
    assert read_progress(tmp_path, ITERATIONS, 'x').step == 4


def test_a_validation_that_found_nothing_is_zero(tmp_path):
    metric = 'coco/bbox_mAP'
    write_log(
        tmp_path,
        dict(data_time=0.1, time=0.2, step=5),
        {metric: 0.5, 'time': 0.2, 'step': 10},
    )
    curve = read_progress(tmp_path, ITERATIONS, metric).curve
    assert curve == {5: 0.0, 10: 0.5}


def test_what_is_no_validation_of_the_metric_is_only_noted(tmp_path):
    write_log(
        tmp_path,
        {'positive_share': 0.5, 'step': 3},
        {'coco/bbox_mAP': 0.5, 'time': 0.1, 'step': 5},
    )
    progress = read_progress(tmp_path, ITERATIONS, 'coco/segm_mAP')
    assert progress.curve == {}
    assert progress.others == ['coco/bbox_mAP', 'positive_share']


def test_epochs_are_known_though_the_log_counts_steps(tmp_path):
    metric = 'coco/bbox_mAP'
    write_log(
        tmp_path,
        dict(loss=1.0, step=7330, iter=7330),
        {metric: 0.1, 'step': 1},
        dict(loss=1.0, step=7380, iter=7380),
    )
    progress = read_progress(tmp_path, EPOCHS, metric)
    assert (progress.step, progress.steps) == (1, 12)


@pytest.mark.parametrize('cfg', [ITERATIONS, EPOCHS])
def test_validations_are_logged_by_what_the_run_counts(cfg, tmp_path):
    from mmengine.config import Config

    base = f'train_cfg = {cfg["train_cfg"]!r}\n'
    for more in ('', 'default_hooks = dict(logger=dict(interval=7))'):
        path = write_config(base + more, {}, 0, tmp_path)
        written = Config.fromfile(path)
        logger = written.default_hooks.logger
        assert logger.log_metric_by_epoch == (cfg is EPOCHS)
        assert logger.get('interval', 7) == 7
        assert written.custom_imports.imports == ['mmdet_retina_plus']


def test_folders_differ_where_points_or_configs_do_and_stay_when_keys_move():
    long = 'x' * 200
    names = {
        folder_name(BASE, dict(a=f'{long}1'), 0),
        folder_name(BASE, dict(a=f'{long}2'), 0),
        folder_name(BASE, dict(a='/..'), 0),
        folder_name(BASE, dict(a='/..'), 1),
    }
    names.add(folder_name('', dict(a='/..'), 1))
    assert len(names) == 5
    assert all(len(Path(name).parts) == 2 for name in names)
    assert digits(dict(a=1, b=2)) == digits(dict(b=2, a=1))


def digits(point: dict) -> str:
    return folder_name(BASE, point, 0).rpartition('_')[2]


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
    wait_for(lambda: all(x.is_file() and x.read_text() for x in files), 100)
    ranks = [psutil.Process(int(file.read_text())) for file in files]
    worker.kill()
    worker.wait()
    wait_for(lambda: not any(map(is_running, ranks)))


def is_running(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_several_processes_come_from_torchrun(tmp_path, monkeypatch):
    """The command is run for real, with a script that says who it is."""
    script = tmp_path / 'who.py'
    script.write_text(
        'import os, sys\n'
        'from pathlib import Path\n'
        "rank = os.environ['RANK']\n"
        "Path(sys.argv[3], 'rank-' + rank).write_text(' '.join(sys.argv))\n"
    )
    monkeypatch.setattr(training, 'train_script', lambda: script)
    config = tmp_path / 'config.py'
    command = train_command(config, tmp_path, 2)
    subprocess.run([sys.executable, *command], check=True, timeout=120)
    for rank in (0, 1):
        words = (tmp_path / f'rank-{rank}').read_text().split()
        assert words[1:] == [
            str(config),
            *('--work-dir', str(tmp_path), '--launcher', 'pytorch'),
        ]


def test_of_torchruns_words_those_of_its_processes_are_kept(
    tmp_path, monkeypatch
):
    """Where a group stands, torch writes the rank before each line."""
    script = tmp_path / 'fails.py'
    script.write_text(
        'import torch\n'
        "torch.distributed.init_process_group('gloo')\n"
        "raise ValueError('the model fails')\n"
    )
    monkeypatch.setattr(training, 'train_script', lambda: script)
    command = train_command(tmp_path / 'config.py', tmp_path, 2)
    output = tmp_path / 'output.log'
    with output.open('w') as log:
        subprocess.run([sys.executable, *command], stderr=log, timeout=120)
    lines = output.read_text().splitlines()
    assert any(line.startswith('[rank0]: Traceback') for line in lines)
    assert last_words(lines)[0] == 'ValueError: the model fails'
    assert 'failed (exitcode: 1)' in last_words(lines)[-1]

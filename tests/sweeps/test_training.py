"""Laws of one training run of a sweep, with a stand-in for mmdet's script."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sweep_scenes import BASE, STAND_IN

from mmdet_retina_plus.sweeps import training
from mmdet_retina_plus.sweeps.training import (
    TRACEBACK,
    Slot,
    Training,
    folder_name,
    last_words,
    locked,
    metric_of,
    read_progress,
    train_command,
    train_script,
    try_lock,
    write_config,
)

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


def test_the_lock_is_held_as_long_as_the_run_lives(start, tmp_path):
    run = start(ENDLESS)
    with (tmp_path / 'lock').open() as lock:
        assert not try_lock(lock.fileno())
        run.stop()
        assert try_lock(lock.fileno())


def test_a_run_that_does_not_listen_is_ended(start, tmp_path, monkeypatch):
    monkeypatch.setattr(training, 'PATIENCE', 0.2)
    run = start(ENDLESS + 'listens = False')
    wait_for((tmp_path / 'last_checkpoint').is_file)
    run.stop()
    assert run.process.returncode == -signal.SIGKILL


def test_a_run_ends_with_its_worker_however_that_ends(tmp_path):
    """SIGKILL gives a worker no chance to end its run; the pipe does."""
    config = write_config(ENDLESS, {}, 0, tmp_path)
    code = f"""
import sys, time
sys.argv[0] = 'retina-plus'  # spares it the import of mmdet
from pathlib import Path
from mmdet_retina_plus.sweeps import training
training.train_script = lambda: Path({str(STAND_IN)!r})
with training.locked(Path({str(tmp_path)!r}) / 'lock') as lock:
    folder = Path({str(tmp_path)!r})
    config = Path({str(config)!r})
    run = training.Training(config, folder, training.Slot(), lock)
    time.sleep(100)
"""
    worker = subprocess.Popen([sys.executable, '-c', code])
    wait_for((tmp_path / 'last_checkpoint').is_file, 60)
    worker.kill()
    worker.wait()
    with (tmp_path / 'lock').open() as lock:
        wait_for(lambda: try_lock(lock.fileno()))


def test_a_run_resumes_where_its_checkpoint_is(start, tmp_path):
    run = start(ENDLESS.replace('per_second = 50', 'per_second = 20'))
    wait_for(lambda: read_progress(tmp_path, ITERATIONS, 'x').step >= 3)
    run.stop()
    run = start(BASE)
    assert run.has_ended(20)
    steps = [
        json.loads(line)['step']
        for log in sorted(tmp_path.glob('*/vis_data/scalars.json'))
        for line in log.read_text().splitlines()
        if 'loss' in line
    ]
    assert sorted(set(steps)) == list(range(1, 11))
    assert len(steps) <= 11


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
        # mmengine numbers it by epoch where nobody counts them.
        {metric: 0.1, 'step': 0},
        dict(loss=1.0, step=6, iter=6),
    )
    write_log(tmp_path, dict(loss=1.0, step=8, iter=8), {metric: 0.2})
    progress = read_progress(tmp_path, ITERATIONS, metric)
    assert progress.curve == {4: 0.1, 8: 0.2}
    assert (progress.step, progress.steps) == (8, 10)


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


def test_a_validation_that_found_nothing_is_zero():
    assert metric_of(dict(data_time=0.1, time=0.2, step=0), 'x') == 0.0
    assert metric_of({'coco/bbox_mAP': -1.0}, 'coco/bbox_mAP') == 0.0


def test_a_metric_that_is_not_there_names_those_that_are():
    with pytest.raises(ValueError, match=r'no metric segm, but coco/bbox_mAP'):
        metric_of({'coco/bbox_mAP': 0.5, 'step': 1}, 'segm')


def test_folders_differ_where_points_do_and_stay_when_keys_move():
    long = 'x' * 200
    names = {
        folder_name(dict(a=f'{long}1'), 0),
        folder_name(dict(a=f'{long}2'), 0),
        folder_name(dict(a='/..'), 0),
        folder_name(dict(a='/..'), 1),
    }
    assert len(names) == 4
    assert all(len(Path(name).parts) == 2 for name in names)
    assert digits(dict(a=1, b=2)) == digits(dict(b=2, a=1))


def digits(point: dict) -> str:
    return folder_name(point, 0).rpartition('_')[2]


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

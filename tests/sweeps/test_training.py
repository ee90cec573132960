"""Laws of one training run of a sweep, with a stand-in for mmdet's script."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace
from zipfile import ZipFile

import pytest

from mmdet_retina_plus.sweeps import training
from mmdet_retina_plus.sweeps.slots import Slot
from mmdet_retina_plus.sweeps.training import (
    TRACEBACK,
    Training,
    last_words,
    train_command,
    train_script,
)
from mmdet_retina_plus.sweeps.trial_config import write_config
from mmdet_retina_plus.sweeps.trial_folder import read_progress, try_lock
from tests.sweeps.scenes import (
    BASE,
    ENDLESS,
    ITERATIONS,
    STAND_IN,
    checkpoints,
    wait_for,
)


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


def test_the_script_is_mmdets_own():
    assert train_script().name == 'train.py'
    assert 'runner.train()' in train_script().read_text()


def test_the_end_of_a_run_and_its_output_are_seen(start):
    run = start(BASE.replace('fails=False', 'fails=True'))
    assert run.has_ended(20)
    assert run.process.returncode == 3
    where, first, last = run.error().splitlines()
    assert where.startswith('Exit code 3')
    assert first == 'an early line'
    assert last == 'ValueError: the model fails'


def test_an_output_that_found_no_space_is_told(start, monkeypatch):
    run = start(BASE.replace('fails=False', 'fails=True'))
    assert run.has_ended(20)
    run.start = run.log.stat().st_size
    assert 'No space' not in run.error()
    monkeypatch.setattr(
        training, 'disk_usage', lambda folder: SimpleNamespace(free=4096)
    )
    assert 'No space left' in run.error()


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
    wait_for(checkpoints(tmp_path), 'nothing trains')
    run.stop()
    assert run.process.returncode == -signal.SIGKILL


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

"""A command ends with us, and says in one line why it failed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mmdet_retina_plus.toolchain import processes
from mmdet_retina_plus.toolchain.processes import CommandFailed, run


def test_output_is_logged_and_seen_line_by_line(tmp_path):
    lines = []
    command = [sys.executable, '-c', 'print("one"); print("two")']
    run(command, tmp_path / 'log', lines.append)
    assert lines == ['one\n', 'two\n']
    assert (tmp_path / 'log').read_text().endswith('one\ntwo\n')


@pytest.mark.parametrize(
    ('output', 'expected'),
    [
        ('OSError: [Errno 28] No space left on device', 'The disk is full'),
        ('ERROR: no such package\nhint: see above', 'ERROR: no such package'),
        ('Error: install g++', 'install g++'),
        ('nothing to be seen', 'nothing to be seen'),
    ],
)
def test_a_failing_command_gives_its_reason(tmp_path, output, expected):
    code = f'print({output!r}); raise SystemExit(1)'
    with pytest.raises(CommandFailed) as failure:
        run([sys.executable, '-c', code], tmp_path / 'log')
    assert str(failure.value).startswith(expected)
    assert '\n' not in str(failure.value)


def test_a_crash_is_named(tmp_path):
    command = [sys.executable, '-c', 'import os; os.abort()']
    with pytest.raises(CommandFailed, match='SIGABRT'):
        run(command, tmp_path / 'log')


def test_an_index_out_of_reach_is_named(tmp_path):
    command = [
        *(sys.executable, '-m', 'pip', 'download', '--isolated'),
        *('--retries', '1', '--no-deps', '-d', tmp_path, 'mmcv==2.1.0'),
        *('--index-url', 'http://127.0.0.1:9/simple'),
    ]
    with pytest.raises(CommandFailed, match='index cannot be reached') as why:
        run(command, tmp_path / 'log')
    assert '\n' not in str(why.value)


PARENT = """
import sys
sys.path.insert(0, sys.argv[1])
import processes
from pathlib import Path
processes.interrupt_on_signals()
# A child, which starts another one as pip starts compilers.
child = "import subprocess; subprocess.run(['sleep', '600'])"
processes.run([sys.executable, '-c', child], Path(sys.argv[2]))
"""


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_parent_alone_ends_all_that_it_started(
    tmp_path, number
):
    folder = Path(processes.__file__).parent
    parent = psutil.Popen(
        [sys.executable, '-c', PARENT, str(folder), str(tmp_path / 'log')],
        stderr=subprocess.DEVNULL,
        # As pytest may have been started in the background.
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),
    )
    deadline = time.monotonic() + 60
    while len(started := parent.children(recursive=True)) < 2:
        assert time.monotonic() < deadline, 'the children do not start'
        time.sleep(0.05)
    os.kill(parent.pid, number)
    _, alive = psutil.wait_procs([parent, *started], timeout=60)
    for process in alive:
        process.kill()
    assert not alive

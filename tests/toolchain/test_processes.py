"""A command ends with us, and says in one line why it failed."""

import signal
import sys
from pathlib import Path

import psutil
import pytest

from mmdet_retina_plus.toolchain import processes
from mmdet_retina_plus.toolchain.processes import CommandFailed, run
from tests.helpers.process_trees import check_that_all_end, start_tree


def test_output_is_logged_and_seen_line_by_line(tmp_path):
    lines = []
    command = [sys.executable, '-c', 'print("one"); print("two")']
    run(command, tmp_path / 'log', lines.append)
    assert lines == ['one\n', 'two\n']
    assert (tmp_path / 'log').read_text().endswith('one\ntwo\n')


# How mim ends, whose own traceback comes after that of the training.
MIM = """Traceback (most recent call last):
{0}
Traceback (most recent call last):
  File "mim/commands/train.py", line 100, in cli
    raise CalledProcessError(retcode, cmd)
subprocess.CalledProcessError: Command '['python', 'train.py']' {1}"""
SIGNAL = 'died with <Signals.SIG{}>.'


@pytest.mark.parametrize(
    ('output', 'expected'),
    [
        ('OSError: [Errno 28] No space left on device', 'The disk is full'),
        ('ERROR: no such package\nhint: see above', 'ERROR: no such package'),
        ('Error: install g++', 'install g++'),
        (
            'a.h:10:10: fatal error: cusparse.h: No file\nERROR: no wheel',
            'a.h:10:10: fatal error: cusparse.h',
        ),
        ('a.cuh(11): error: defined\nERROR: no wheel', 'a.cuh(11): error:'),
        ('c++: fatal error: Killed signal terminated program cc1plus', 'A pr'),
        ('cc1plus: virtual memory exhausted\nERROR: no wheel', 'A process'),
        (
            "nvcc error   : 'cicc' died due to signal 9 (Kill signal)\n"
            'ERROR: Failed to build one or more wheels',
            'A process was killed',
        ),
        ('c++: internal compiler error: Killed (program cc1plus)', 'A pr'),
        (
            'c++: internal compiler error: Segmentation fault\n'
            'ERROR: Failed building wheel for mmcv',
            'c++: internal compiler error: Segmentation fault',
        ),
        (
            'error: subprocess-exited-with-error\n'
            '  ERROR: Failed building wheel for mmcv',
            'ERROR: Failed building wheel for mmcv',
        ),
        (
            '  Traceback (most recent call last):\n'
            '  RuntimeError: The current installed version of c++ (15.2) is '
            'greater than the maximum required version by CUDA 12.4.\n'
            "  Building wheel for mmcv: finished with status 'error'\n"
            '  error: subprocess-exited-with-error\n'
            '  note: This error originates from a subprocess, and is likely '
            'not a problem with pip.\n'
            '  ERROR: Failed building wheel for mmcv',
            'RuntimeError: The current installed version of c++ (15.2)',
        ),
        (
            'ImportError: cannot import name a\n'
            'RuntimeError: Error compiling objects for extension\n'
            'ERROR: Failed to build one or more wheels',
            'ImportError: cannot import name a',
        ),
        (MIM.format("KeyError: 'a'", 'returned 1'), "KeyError: 'a'"),
        (MIM.format('AssertionError', 'returned 1'), 'AssertionError'),
        (MIM.format('step 10', SIGNAL.format('KILL: 9')), 'A process was'),
        (MIM.format('', SIGNAL.format('SEGV: 11')), 'crashed with SIGSEGV'),
        (
            'RuntimeError: DataLoader worker (pid 1) is killed by signal: '
            'Killed. ',
            'A process was killed',
        ),
        (
            "OSError: [Errno 30] Read-only file system: '/a/b'\nERROR: no",
            "Read-only file system: '/a/b': use a folder elsewhere",
        ),
        (
            "Error: Installing failed: Read-only file system: '/a': use a b "
            '(whole output: c)',
            "Read-only file system: '/a': use a folder elsewhere, or set TMP",
        ),
        ('OSError: [Errno 122] Disk quota exceeded', 'The disk is full'),
        (
            "nvcc fatal   : Unsupported gpu architecture 'compute_120'\n"
            'ERROR: Failed to build one or more wheels',
            'nvcc fatal   : Unsupported gpu architecture',
        ),
        (
            '/usr/bin/ld: cannot find -lcudart\ncollect2: error: ld returned\n'
            'ERROR: Failed to build one or more wheels',
            '/usr/bin/ld: cannot find -lcudart',
        ),
        (
            'WARNING: Retrying after connection broken by ...\n'
            'a.cpp:1:1: error: expected\nERROR: no wheel',
            'a.cpp:1:1: error: expected',
        ),
        (
            'WARNING: Retrying after connection broken by SSLError('
            'CERTIFICATE_VERIFY_FAILED)',
            'The certificate of the package index',
        ),
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


def test_a_killed_command_ran_out_of_memory(tmp_path):
    command = ['sh', '-c', 'kill -9 $$']
    with pytest.raises(CommandFailed, match='memory') as failure:
        run(command, tmp_path / 'log')
    assert failure.value.out_of_memory


@pytest.mark.skipif(
    not Path('/dev/full').exists(), reason='only Linux has /dev/full'
)
def test_a_log_on_a_full_disk_does_not_hide_the_reason():
    with pytest.raises(CommandFailed, match='no such key'):
        run(['sh', '-c', 'echo no such key; exit 1'], Path('/dev/full'))


def test_an_index_out_of_reach_is_named(tmp_path):
    command = [
        *(sys.executable, '-m', 'pip', 'download', '--isolated'),
        *('--retries', '1', '--no-deps', '-d', tmp_path, 'mmcv==2.1.0'),
        *('--index-url', 'http://127.0.0.1:9/simple'),
    ]
    with pytest.raises(CommandFailed, match='index is unreachable') as why:
        run(command, tmp_path / 'log')
    assert '\n' not in str(why.value)


NESTED = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import processes

processes.interrupt_on_signals()
command = ['sleep', '600']
if sys.argv[3:]:
    command = [sys.executable, *sys.argv[:-1]]
processes.run(command, Path(sys.argv[2]))
"""


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_outermost_process_ends_every_nested_one(
    tmp_path, number
):
    """As set-up runs build-mmcv, which runs pip, each in its own group."""
    (tmp_path / 'nested.py').write_text(NESTED)
    program, descendants = start_tree(
        [
            *(sys.executable, tmp_path / 'nested.py'),
            *(Path(processes.__file__).parent, tmp_path / 'log', 'nest'),
        ],
        'sleep',
    )
    assert len(descendants) == 2
    program.send_signal(number)
    program.communicate(timeout=60)
    check_that_all_end(descendants)


def test_a_second_signal_leaves_no_child_behind(tmp_path):
    """Not even one that ignores SIGTERM."""
    stubborn = (
        'import os, signal, time; signal.signal(signal.SIGTERM, '
        'signal.SIG_IGN); print(os.getpid(), flush=True); time.sleep(600)'
    )
    children = []

    def on_line(line):
        children.append(psutil.Process(int(line)))
        # The next comes while the group is given time to end.
        signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
        raise KeyboardInterrupt

    def interrupt(number, frame):
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            run([sys.executable, '-c', stubborn], tmp_path / 'log', on_line)
    finally:
        signal.signal(signal.SIGALRM, before)
    check_that_all_end(children)

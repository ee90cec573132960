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
        ('c++: fatal error: Killed signal terminated program cc1plus', 'A co'),
        ('cc1plus: virtual memory exhausted\nERROR: no wheel', 'A compiler'),
        (
            "nvcc error   : 'cicc' died due to signal 9 (Kill signal)\n"
            'ERROR: Failed to build one or more wheels',
            'A compiler ended',
        ),
        ('c++: internal compiler error: Killed (program cc1plus)', 'A co'),
        (
            'c++: internal compiler error: Segmentation fault\n'
            'ERROR: Failed building wheel for mmcv',
            'c++: internal compiler error: Segmentation fault',
        ),
        (
            'error: subprocess-exited-with-error\n'
            '  ERROR: Failed building wheel for mmcv',
            'error: subprocess-exited-with-error',
        ),
        (
            "OSError: [Errno 30] Read-only file system: '/a/b'\nERROR: no",
            "Read-only file system: '/a/b': use a folder elsewhere",
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
            "The package index's certificate",
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


def test_an_index_out_of_reach_is_named(tmp_path):
    command = [
        *(sys.executable, '-m', 'pip', 'download', '--isolated'),
        *('--retries', '1', '--no-deps', '-d', tmp_path, 'mmcv==2.1.0'),
        *('--index-url', 'http://127.0.0.1:9/simple'),
    ]
    with pytest.raises(CommandFailed, match='index cannot be reached') as why:
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

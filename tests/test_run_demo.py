"""What `make demo` shows of a command, and what it leaves in its log."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from tests.helpers.process_trees import check_that_all_end, start_tree

PATH = Path(__file__).parent.parent / 'scripts' / 'run_demo.py'
LINES = """
11/28 00:21:12 - mmengine - INFO - Iter(train) [ 20/200]  lr: 1.3e-03  \\
eta: 1 day, 0:01:34  time: 0.1562  loss: 10.7997
11/28 00:21:12 - mmengine - INFO - Iter(train) [ 40/200]  lr: 1.3e-03  \\
eta: 0:01:44  time: 0.1562  loss: 10.7997
11/28 00:21:12 - mmengine - INFO - Iter(train) [100/200]  lr: 1.3e-03  \\
eta: 0:01:34  time: 0.1562  loss: 10.7997
11/28 00:21:12 - mmengine - INFO - Saving checkpoint at 100 iterations
11/28 00:22:12 - mmengine - INFO - Iter(val) [ 7/15]    eta: 0:00:02  time: 1
11/28 00:22:12 - mmengine - INFO - Iter(val) [14/15]    eta: 0:00:01  time: 1
11/28 00:22:12 - mmengine - INFO - Iter(val) [15/15]    eta: 0:00:00  time: 1
11/28 00:22:12 - mmengine - INFO - Iter(val) [15/15]    coco/bbox_mAP: 0.6030
"""
# Arguments as of mim; leaves what a training and a test leave.
MIM = """#!{python}
import json, shutil, sys, time
from pathlib import Path

_, action, _, _, *options = sys.argv
options = dict(zip(options[::2], options[1::2]))
folder = Path(options['--work-dir'])
run = folder / str(time.time_ns())
if action == 'train':
    (run / 'vis_data').mkdir(parents=True)
    runs = len([*folder.glob('*/vis_data')])
    records = [dict(loss=1.0, step=1), {{'coco/bbox_mAP': 0.125 * runs}}]
    (run / 'vis_data' / 'scalars.json').write_text(
        '\\n'.join(map(json.dumps, records))
    )
    (folder / 'last_checkpoint').write_text(str(run) + '.pth')
    print('Iter(train) [300/300]')
else:
    assert options['--checkpoint'].endswith('.pth')
    (run / options['--show-dir']).mkdir(parents=True)
    shutil.copy({picture!r}, run / options['--show-dir'])
"""


@pytest.fixture
def demo(monkeypatch):
    monkeypatch.setattr(sys, 'path', sys.path.copy())
    spec = importlib.util.spec_from_file_location('run_demo', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def mim(tmp_path, monkeypatch):
    """Put a script in place of mim."""

    def write(text: str) -> None:
        program = tmp_path / 'bin' / 'mim'
        program.parent.mkdir()
        program.write_text(text)
        program.chmod(0o755)
        path = os.pathsep.join([str(program.parent), os.environ['PATH']])
        monkeypatch.setenv('PATH', path)

    return write


def printing(text: str) -> list[str]:
    return [sys.executable, '-c', f'print("""{text}""")']


@pytest.mark.parametrize('term', [None, 'dumb'])
def test_where_no_bar_can_be_drawn_some_steps_are_lines(
    demo, tmp_path, monkeypatch, capsys, term
):
    if term:
        console = Console(force_terminal=True, _environ={'TERM': term})
        monkeypatch.setattr(demo, 'console', console)
    log = tmp_path / 'demo.log'
    demo.follow(printing(LINES), log)
    assert capsys.readouterr().out.split('\n') == [
        'train 20/200 1 day, 0:01:34 left',
        'train 100/200 0:01:34 left',
        'val 7/15 0:00:02 left',
        'val 15/15 0:00:00 left',
        '',
    ]
    assert 'Saving checkpoint' in log.read_text()


def test_a_terminal_shows_bars(demo, tmp_path, monkeypatch, capsys):
    console = Console(force_terminal=True, _environ={'TERM': 'xterm'})
    monkeypatch.setattr(demo, 'console', console)
    demo.follow(printing(LINES), tmp_path / 'demo.log')
    shown = capsys.readouterr().out
    assert '100/200 0:01:34 left' in shown
    assert '━' in shown
    assert 'train 20/200' not in shown


def test_a_second_run_shows_its_own_table_and_pictures(
    demo, mim, tmp_path, capsys
):
    picture = tmp_path / 'picture.png'
    cv2.imwrite(str(picture), np.zeros((8, 16, 3), np.uint8))
    mim(MIM.format(python=sys.executable, picture=str(picture)))
    folder = tmp_path / 'a demo'
    for percent in ('12.5', '25.0'):
        demo.main('mmdet', 'config.py', folder)
        first, *shown = capsys.readouterr().out.splitlines()
        assert first.startswith('Training config.py')
        assert shown[0] == 'train 300/300'
        (row,) = [line for line in shown if 'bbox_mAP' in line]
        assert percent in row
        for name in ('loss_curve.png', 'contact_sheet.png'):
            assert str(folder / name) in shown
            assert (folder / name).is_file()
        assert (folder / 'last_checkpoint').read_text() in shown
        assert shown[-1].startswith('Training took')
    assert (folder / 'demo.log').read_text().count('mim train') == 1


def run_demo(folder: Path, *options: str) -> list[str]:
    """Lines of the errors of a demo that fails."""
    result = subprocess.run(
        [sys.executable, *options, PATH, 'mmdet', 'config.py', folder],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stdout.startswith('Training config.py')
    return result.stderr.splitlines()


def test_a_failure_gives_its_reason_and_imports_no_torch(mim, tmp_path):
    mim(
        '#!/bin/sh\necho "KeyError: \'a\'"\n'
        'echo "subprocess.CalledProcessError: Command returned 1"\nexit 1\n'
    )
    *imports, last = run_demo(tmp_path / 'demo', '-X', 'importtime')
    assert last.startswith("demo: KeyError: 'a' (whole output: ")
    assert any(line.endswith(' processes') for line in imports)
    assert not any(line.endswith(' torch') for line in imports)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').touch()
    (line,) = run_demo(tmp_path / 'file' / 'demo')
    assert line.startswith('demo: ')
    assert 'file' in line


def test_a_signal_to_the_demo_ends_its_training(mim, tmp_path):
    mim('#!/bin/sh\nsleep 600 & wait\n')
    program, descendants = start_tree(
        [sys.executable, PATH, 'mmdet', 'config.py', tmp_path / 'demo'],
        'sleep',
    )
    program.send_signal(signal.SIGTERM)
    (line,) = program.communicate(timeout=60)[1].splitlines()
    assert line == 'demo: interrupted; `make demo` starts over'
    assert program.returncode == 1
    check_that_all_end(descendants)

"""What `make demo` shows of a command, and what it leaves in its log."""

import importlib.util
import sys
from pathlib import Path

import pytest

from mmdet_retina_plus.toolchain.processes import CommandFailed

PATH = Path(__file__).parent.parent / 'scripts' / 'run_demo.py'
LINES = """
11/28 00:21:12 - mmengine - INFO - Iter(train) [100/200]  lr: 1.3e-03  \\
eta: 0:01:34  time: 0.1562  loss: 10.7997
11/28 00:21:12 - mmengine - INFO - Saving checkpoint at 100 iterations
11/28 00:22:12 - mmengine - INFO - Iter(test) [ 7/15]    eta: 0:00:02  time: 1
"""


@pytest.fixture(scope='module')
def demo():
    spec = importlib.util.spec_from_file_location('run_demo', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def printing(text: str, status: int = 0) -> list[str]:
    code = f'import sys; print("""{text}"""); sys.exit({status})'
    return [sys.executable, '-c', code]


def test_steps_are_shown_and_all_else_is_in_the_log(demo, tmp_path, capsys):
    log = tmp_path / 'demo.log'
    demo.follow(printing(LINES), log)
    shown = capsys.readouterr().out
    assert 'train 100/200, 0:01:34 left' in shown
    assert '7/15 0:00:02 left' in shown
    assert 'Saving checkpoint' not in shown
    assert 'Saving checkpoint' in log.read_text()


def test_a_failure_gives_its_reason(demo, tmp_path):
    log = tmp_path / 'demo.log'
    with pytest.raises(CommandFailed, match='no such key'):
        demo.follow(printing('ValueError: no such key', 1), log)

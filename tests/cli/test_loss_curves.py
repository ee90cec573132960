"""The picture that is written, and the numbers that are refused."""

import errno
from pathlib import Path

import cv2
import pytest
from click.testing import CliRunner

from mmdet_retina_plus.cli.loss_curves import main


def run(*arguments, code=0) -> str:
    result = CliRunner().invoke(main, [str(word) for word in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize(
    'arguments',
    [
        [],
        ['--gamma', 2],
        ['--gamma', '0,2', '--star', '2,1', '--star', '4,0', '--alpha', 0.25],
    ],
)
def test_a_picture_is_drawn(tmp_path, arguments):
    out = tmp_path / 'curves.png'
    assert str(out) in run('--out', out, *arguments)
    assert cv2.imread(str(out)).std() > 0


@pytest.mark.parametrize(
    ('arguments', 'message', 'code'),
    [
        (['--gamma', '-1'], 'at least 0', 1),
        (['--gamma', 'nan'], 'at least 0', 1),
        (['--gamma', 'two'], 'is not a list like', 2),
        (['--alpha', '2'], 'in [0, 1]', 1),
        (['--alpha', 'some'], 'or none', 1),
        (['--star', '0,1'], 'divides by gamma', 1),
        (['--star', '2'], 'not 2 numbers', 2),
    ],
)
def test_bad_numbers_say_the_way_out(tmp_path, arguments, message, code):
    out = tmp_path / 'curves.png'
    assert message in run('--out', out, *arguments, code=code)
    assert not out.exists()


def test_a_picture_that_cannot_be_written_is_named(tmp_path):
    assert 'no folder' in run('--out', tmp_path / 'none' / 'x.png', code=1)
    message = run('--out', tmp_path / 'curves.what', code=1)
    assert "'what' is not supported" in message
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_is_an_error_and_leaves_what_was(
    tmp_path, monkeypatch
):
    out = tmp_path / 'curves.png'
    out.write_bytes(b'before')

    def full(self, content):
        raise OSError(errno.ENOSPC, 'No space left', str(self))

    monkeypatch.setattr(Path, 'write_bytes', full)
    assert 'Error: [Errno 28] No space left' in run('--out', out, code=1)
    assert out.read_bytes() == b'before'
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ('name', 'start'),
    [('a.svg', b'<?xml'), ('a.PDF', b'%PDF'), ('plain', b'\x89PNG')],
)
def test_the_ending_chooses_the_format(tmp_path, name, start):
    run('--out', tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)

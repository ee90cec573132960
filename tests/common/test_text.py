"""Messages about errors."""

import pytest

from mmdet_retina_plus.common.text import building, error_text

TRACEBACK = """Caught KeyError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "loop.py", line 1, in fetch
KeyError: 'bbox'
"""


@pytest.mark.parametrize(
    ('error', 'text'),
    [
        (ValueError('no\n  boxes'), 'no boxes'),
        (OSError(28, 'disk full'), '[Errno 28] disk full'),
        (KeyError('bbox'), "KeyError: 'bbox'"),
        (AssertionError(), 'AssertionError'),
        (ValueError(), 'ValueError'),
        (RuntimeError(TRACEBACK), "KeyError: 'bbox'"),
    ],
)
def test_an_error_is_told_in_a_line_with_its_type_if_unexpected(error, text):
    assert error_text(error) == text


def test_a_constructors_error_names_what_it_builds():
    with (
        pytest.raises(ValueError, match='Cannot build the head: TypeError: x'),
        building('head'),
    ):
        raise TypeError('x')

"""What a finding must say, and how it is shown."""

import pytest

from mmdet_retina_plus.doctor.findings import Finding, show


def test_a_problem_needs_a_fix():
    with pytest.raises(AssertionError, match='no fix'):
        Finding('error', 'subject', 'message')


def test_brackets_are_shown_as_they_are(capsys):
    show([Finding('warning', 'a[b]', 'see [bold]', "pip install '.[test]'")])
    output = capsys.readouterr().out
    assert "a[b]: pip install '.[test]'" in output
    assert 'see [bold]' in output

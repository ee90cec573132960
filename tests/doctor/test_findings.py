"""Required content of findings, and how they are shown."""

import pytest

from mmdet_retina_plus.doctor.findings import (
    Finding,
    joined,
    show,
    without_consequences,
)


def test_a_problem_needs_a_fix():
    with pytest.raises(AssertionError, match='no fix'):
        Finding('error', 'subject', 'message')


def test_brackets_are_shown_as_they_are(capsys):
    show([Finding('warning', 'a[b]', 'see [bold]', "pip install '.[test]'")])
    output = capsys.readouterr().out
    assert "a[b]: pip install '.[test]'" in output
    assert 'see [bold]' in output


@pytest.mark.parametrize(
    ('fix', 'told'),
    [
        ('model.bbox_head.num_classes=1', True),
        ("optim_wrapper.optimizer=dict(type='SGD')", True),
        ('pip install ruamel.yaml==0.18', False),
        ('train_cfg=None', False),
    ],
)
def test_dotted_keys_are_explained(fix, told, capsys):
    show([Finding('error', 'subject', 'message', fix)])
    assert ('a=dict(…)' in capsys.readouterr().out) == told


def test_findings_of_one_message_are_one_and_the_worst_comes_first():
    same = [Finding('warning', x, 'message', 'fix') for x in ('a', 'b', 'a')]
    worst = Finding('error', 'c', 'another', 'fix')
    assert joined([Finding('ok', 'd', 'fine'), *same, worst]) == [
        worst,
        Finding('warning', 'a, b', 'message', 'fix'),
        Finding('ok', 'd', 'fine'),
    ]


def test_a_failed_trial_follows_from_a_wrong_setting():
    trial = [Finding('error', 'loss step', 'fails', 'fix')]
    wrong = [Finding('error', 'bbox_head', 'is wrong', 'fix')]
    assert without_consequences(trial, wrong) == []
    assert without_consequences(trial, []) == trial

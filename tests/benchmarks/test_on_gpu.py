"""What is to run on a GPU that is lent for minutes runs here first."""

import json
import sys

import pytest
from click.testing import CliRunner

from benchmarks import on_gpu
from benchmarks.gpu.trainings import SIDES


def test_the_rehearsal_fails_nowhere_and_writes_every_section(tmp_path):
    out = tmp_path / 'rehearsal.jsonl'
    result = CliRunner().invoke(
        on_gpu.main, ['--device', 'cpu', '--quick', '--out', str(out)]
    )
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert not [line for line in lines if 'error' in line]
    assert result.exit_code == 0, result.output
    figures = [line for line in lines if 'took_s' not in line]
    assert {line['section'] for line in figures} == set(on_gpu.SECTIONS)
    compared = [line for line in figures if 'equals_mmdet' in line]
    assert compared
    assert all(line['equals_mmdet'] for line in compared)
    (tests,) = [line for line in lines if 'returncode' in line]
    assert tests['returncode'] == 0
    assert 'passed' in tests['summary'][0]


def test_the_name_of_a_side_says_what_it_sets():
    for name, side in SIDES.items():
        assert side.stock == name.startswith('stock')
        assert ('fast' in name) == ('runner_type' in side.options)
        searches = 'env_cfg.cudnn_benchmark' in side.options
        assert ('cudnn_benchmark' in name) == searches
        assert name.removesuffix(', cudnn_benchmark') in SIDES


@pytest.mark.parametrize(
    ('ending', 'error'),
    [('exit 1', 'ValueError: pytest'), ('exec sleep 60', 'TimeoutExpired')],
)
def test_tests_that_fail_or_hang_fail_the_script(
    tmp_path, monkeypatch, ending, error
):
    program = tmp_path / 'python'
    program.write_text(f'#!/bin/sh\necho FAILED a law\n{ending}\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(program))
    monkeypatch.setattr(on_gpu, 'TEST_SECONDS', 3)
    out = tmp_path / 'out.jsonl'
    result = CliRunner().invoke(
        on_gpu.main,
        ['--device', 'cpu', '--only', 'tests', '--out', str(out)],
    )
    assert result.exit_code == 1
    assert error in out.read_text()
    assert out.with_suffix('.tests.txt').read_text() == 'FAILED a law\n'


def test_a_difference_from_mmdet_fails_the_script(tmp_path, monkeypatch):
    monkeypatch.setitem(
        on_gpu.SECTIONS,
        'assigners',
        lambda run: run.write(equals_mmdet=False),
    )
    result = CliRunner().invoke(
        on_gpu.main,
        [
            *('--device', 'cpu', '--only', 'assigners'),
            *('--out', str(tmp_path / 'out.jsonl')),
        ],
    )
    assert result.exit_code == 1


def test_a_section_that_fails_is_written_and_the_next_one_starts(
    tmp_path, monkeypatch
):
    def broken(run):
        run.write(figure=1.0)
        raise ValueError('no such thing')

    monkeypatch.setitem(on_gpu.SECTIONS, 'loss', broken)
    out = tmp_path / 'rehearsal.jsonl'
    result = CliRunner().invoke(
        on_gpu.main,
        ['--device', 'cpu', '--only', 'loss,environment', '--out', str(out)],
    )
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert result.exit_code == 1
    assert [line['section'] for line in lines] == ['loss'] * 3 + [
        'environment'
    ] * 2
    assert lines[1]['error'] == 'ValueError: no such thing'


def test_sections_without_time_are_named(tmp_path):
    out = tmp_path / 'out.jsonl'
    result = CliRunner().invoke(
        on_gpu.main, ['--device', 'cpu', '--minutes', '0', '--out', str(out)]
    )
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line['section'] for line in lines] == list(on_gpu.SECTIONS)
    assert all('time is up' in line['error'] for line in lines)
    assert result.exit_code == 1


def test_an_unknown_section_is_refused_before_anything_runs(tmp_path):
    out = tmp_path / 'out.jsonl'
    result = CliRunner().invoke(
        on_gpu.main, ['--only', 'environment,los', '--out', str(out)]
    )
    assert result.exit_code == 2
    assert 'los: choose from environment' in result.output
    assert not out.exists()

"""What is to run on a GPU that is lent for minutes runs here first."""

import json

from click.testing import CliRunner

from benchmarks import on_gpu


def test_the_rehearsal_fails_nowhere_and_writes_every_section(tmp_path):
    out = tmp_path / 'rehearsal.jsonl'
    result = CliRunner().invoke(
        on_gpu.main, ['--device', 'cpu', '--quick', '--out', str(out)]
    )
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert not [line for line in lines if 'error' in line]
    assert result.exit_code == 0, result.output
    assert {line['section'] for line in lines} == set(on_gpu.SECTIONS)
    (tests,) = [line for line in lines if 'returncode' in line]
    assert tests['returncode'] == 0
    assert 'passed' in tests['summary'][0]


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

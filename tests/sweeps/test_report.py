"""Laws of the files of a report."""

from mmdet_retina_plus.sweeps.report import write_report
from tests.sweeps.sweep_results import make_sweep, unfinished_sweep


def test_the_files_are_those_that_are_named(tmp_path):
    files = write_report(unfinished_sweep(), tmp_path)
    assert [file.name for file in files] == [
        'trials.csv',
        'summary.md',
        'index.html',
        'metric.png',
        'heat_map.png',
        'curves.png',
        'time.png',
    ]
    assert sorted(files) == sorted(tmp_path.iterdir())


def test_a_chart_that_is_no_more_leaves_no_file(tmp_path):
    other = tmp_path / 'other.png'
    other.touch()
    write_report(unfinished_sweep(), tmp_path)
    files = write_report(make_sweep([], []), tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*files, other])
    assert not [file for file in files if file.suffix == '.png']

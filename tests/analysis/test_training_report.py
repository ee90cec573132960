"""The log of a run, as the report reads it."""

import os

import pytest

from mmdet_retina_plus.analysis.training_report import read_scalars
from tests.helpers.run_log import TRAINING, write_run


def test_half_of_a_last_line_is_left_out(tmp_path):
    write_run(tmp_path / 'run' / 'vis_data', TRAINING)
    file = tmp_path / 'run' / 'vis_data' / 'scalars.json'
    file.write_text(file.read_text() + '\n{"loss": 0.')
    assert read_scalars(tmp_path) == TRAINING


@pytest.mark.parametrize('newest', ['a', 'b'])
def test_the_newest_run_is_taken(tmp_path, newest):
    for name, loss in (('a', 1.0), ('b', 2.0)):
        folder = tmp_path / name / 'vis_data'
        write_run(folder, [dict(loss=loss, step=1)])
        # Names say nothing; times are those of the files.
        time = 2000 if name == newest else 1000
        os.utime(folder / 'scalars.json', (time, time))
    (record,) = read_scalars(tmp_path)
    assert record['loss'] == {'a': 1.0, 'b': 2.0}[newest]

"""The table and the pictures of a run."""

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from mmdet_retina_plus.cli.report import main
from tests.helpers.run_log import TRAINING, write_run

VALIDATION = {
    'coco/bbox_mAP': 0.623,
    'coco/bbox_mAP_l': -1.0,
    'time': 0.1,
    'step': 3,
}


def test_report_shows_the_metrics_and_writes_both_pictures(tmp_path):
    write_run(tmp_path / 'first' / 'vis_data', [*TRAINING, VALIDATION])
    pictures = tmp_path / 'test' / 'now' / 'predictions'
    pictures.mkdir(parents=True)
    for number in range(4):
        image = np.full((20, 40, 3), 50 * number, np.uint8)
        cv2.imwrite(str(pictures / f'{number}.png'), image)
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert '62.3' in result.output
    assert 'no such object' in result.output
    assert 'time' not in result.output
    curve = cv2.imread(str(tmp_path / 'loss_curve.png'))
    assert curve.std() > 0
    sheet = cv2.imread(str(tmp_path / 'contact_sheet.png'))
    centres = []
    for number in range(1, 4):
        rows, columns = (sheet == 50 * number).all(2).nonzero()
        # An image is twice as wide as high; text has few such pixels.
        assert len(rows) > sheet[..., 0].size / 10
        centres.append((np.median(rows), np.median(columns)))
    (top, second), (_, third), (below, first) = centres
    assert first < second < third
    assert top < below


def test_a_validation_without_detections_counts_as_zero(tmp_path):
    write_run(tmp_path / 'run' / 'vis_data', [*TRAINING, dict(time=1, step=3)])
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert '0.0' in result.output


@pytest.mark.parametrize('records', [[], [VALIDATION]])
def test_a_folder_without_training_says_which_to_name(tmp_path, records):
    write_run(tmp_path / 'run' / 'vis_data', records)
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 1
    assert '--work-dir' in result.output


@pytest.mark.parametrize('files', [[], ['notes.txt']])
def test_a_folder_without_pictures_gives_no_contact_sheet(tmp_path, files):
    write_run(tmp_path / 'run' / 'vis_data', TRAINING)
    folder = tmp_path / 'test' / 'predictions'
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).write_text('no picture')
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / 'loss_curve.png').is_file()
    assert not (tmp_path / 'contact_sheet.png').exists()


def test_a_broken_line_is_named(tmp_path):
    write_run(tmp_path / 'run' / 'vis_data', TRAINING)
    file = tmp_path / 'run' / 'vis_data' / 'scalars.json'
    file.write_text('{"loss": 0.\n' + file.read_text())
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 1
    assert 'Line 1' in result.output

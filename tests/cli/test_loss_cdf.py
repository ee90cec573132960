"""What loss-cdf refuses and says, and its exit codes."""

import pytest
from mmdet.models import RetinaHead

from mmdet_retina_plus.analysis import loss_pictures
from tests.helpers.loss_cdf_scene import (
    IMAGES,
    fail_to_draw,
    read,
    run,
    stop_at,
)


def test_the_gammas_that_are_asked_for(folder, tmp_path):
    run(folder, '--out', tmp_path, '--gamma', '3,0', '--gamma', '1.5')
    rows = read(tmp_path)['hardest']['positives']
    assert [row['gamma'] for row in rows] == [0, 1.5, 3]


@pytest.mark.parametrize(
    ('arguments', 'message', 'code'),
    [
        (['--gamma', '-1'], 'at least 0', 1),
        (['--gamma', 'nan'], 'at least 0', 1),
        (['--gamma', 'two'], 'is not a list like', 2),
        (['--cfg-options', 'modle.a=1'], 'the config has no modle', 1),
        (['--cfg-options', 'val_dataloader.dataset.ann_file=no'], 'no', 1),
        (['--out', __file__], 'Cannot create the folder', 1),
    ],
)
def test_mistakes_are_found_before_any_work(
    folder, tmp_path, monkeypatch, arguments, message, code
):
    monkeypatch.setattr(RetinaHead, 'loss', lambda *args: pytest.fail())
    output = run(folder, '--out', tmp_path / 'out', *arguments, code=code)
    assert message in output
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('name', ['loss_cdf.png', 'loss_cdf.partial.csv'])
def test_a_folder_in_the_place_of_a_file_is_found_before_any_work(
    folder, tmp_path, monkeypatch, name
):
    monkeypatch.setattr(RetinaHead, 'loss', lambda *args: pytest.fail())
    (tmp_path / name).mkdir()
    output = run(folder, '--out', tmp_path, code=1)
    assert f'{name} is a folder' in output
    assert len(list(tmp_path.iterdir())) == 1


def test_one_image_is_singular(folder, tmp_path, monkeypatch):
    titles = []

    def titled(positives, negatives, title):
        titles.append(title)
        return b''

    monkeypatch.setattr(loss_pictures, 'draw_cumulative', titled)
    output = run(folder, '--out', tmp_path, '--max-images', 1)
    assert '1 image,' in output
    run(folder, '--out', tmp_path, '--max-images', 2)
    assert [title.split(':')[0] for title in titles] == [
        '1 val image',
        '2 val images',
    ]


def test_what_stopped_it_is_told_where_nothing_can_be_written(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(loss_pictures, 'draw_cumulative', fail_to_draw)
    stop_at(monkeypatch, 1, KeyboardInterrupt())
    output = run(folder, '--out', tmp_path, code=130)
    assert 'No space left' in output
    assert f'Interrupted, 1 of {IMAGES} images' in output


@pytest.mark.parametrize('name', ['no.pth', 'config.py'])
def test_a_checkpoint_that_is_none_is_named_and_makes_no_folder(
    folder, tmp_path, name
):
    output = run(folder, '--out', tmp_path / 'a/b', checkpoint=name, code=1)
    assert name in output
    assert not list(tmp_path.iterdir())


def test_ctrl_c_keeps_what_is_done(folder, tmp_path, monkeypatch):
    stop_at(monkeypatch, 2, KeyboardInterrupt())
    output = run(folder, '--out', tmp_path, code=130)
    assert f'Interrupted, 2 of {IMAGES} images are done' in output
    partial = read(tmp_path, 'loss_cdf.partial')
    assert partial['images'] == 2
    assert not (tmp_path / 'loss_cdf.json').exists()
    monkeypatch.undo()
    run(folder, '--out', tmp_path, '--max-images', 2)
    assert read(tmp_path) == partial

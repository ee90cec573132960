"""Laws of what is read from a trial's folder."""

import json
import threading
import time
from pathlib import Path
from zipfile import ZipFile

import pytest

from mmdet_retina_plus.sweeps import training
from mmdet_retina_plus.sweeps.trial_folder import (
    Progress,
    find_checkpoint,
    folder_name,
    locked,
    read_progress,
)
from tests.sweeps.scenes import BASE, EPOCHS, ITERATIONS


def write_log(folder: Path, *records: dict) -> None:
    log = folder / str(len(list(folder.iterdir()))) / 'vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text(''.join(json.dumps(record) + '\n' for record in records))


def test_a_folder_in_use_by_another_process_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(training, 'PATIENCE', 0.2)
    with (
        locked(tmp_path / 'lock'),
        pytest.raises(ValueError, match='Another process'),
        locked(tmp_path / 'lock'),
    ):
        pass


def test_a_holder_of_the_lock_that_is_ending_is_waited_for(tmp_path):
    first = locked(tmp_path / 'lock')
    first.__enter__()
    ending = threading.Timer(0.3, first.__exit__, (None, None, None))
    began = time.monotonic()
    ending.start()
    with locked(tmp_path / 'lock'):
        assert time.monotonic() - began >= 0.3
    ending.join()


def test_folders_differ_where_points_or_configs_do_and_stay_when_keys_move():
    long = 'x' * 200
    names = {
        folder_name(BASE, dict(a=f'{long}1'), 0),
        folder_name(BASE, dict(a=f'{long}2'), 0),
        folder_name(BASE, dict(a='/..'), 0),
        folder_name(BASE, dict(a='/..'), 1),
    }
    names.add(folder_name('', dict(a='/..'), 1))
    assert len(names) == 5
    assert all(len(Path(name).parts) == 2 for name in names)
    assert digits(dict(a=1, b=2)) == digits(dict(b=2, a=1))


def digits(point: dict) -> str:
    return folder_name(BASE, point, 0).rpartition('_')[2]


def test_the_last_checkpoint_counts_once_it_was_validated(tmp_path):
    for name in (
        'iter_5',
        'iter_10',
        'best_coco_bbox_mAP_iter_10',
        'epoch_99',
    ):
        ZipFile(tmp_path / f'{name}.pth', 'w').close()
    # Cut short by a kill.
    (tmp_path / 'iter_11.pth').write_bytes(b'PK')
    cfg = dict(train_cfg=dict(max_iters=10))
    done = Progress(10, 10, {5: 0.1, 10: 0.2})
    assert find_checkpoint(tmp_path, done, cfg) == tmp_path / 'iter_10.pth'
    lost = Progress(10, 10, {5: 0.1})
    assert find_checkpoint(tmp_path, lost, cfg) == tmp_path / 'iter_5.pth'
    (tmp_path / 'iter_5.pth').unlink()
    assert find_checkpoint(tmp_path, lost, cfg) is None
    assert find_checkpoint(tmp_path / 'none', lost, cfg) is None
    # It validates before anything else.
    cfg |= dict(custom_hooks=[dict(type='ExactResumeHook')])
    assert find_checkpoint(tmp_path, lost, cfg) == tmp_path / 'iter_10.pth'


def test_steps_are_those_of_the_log_over_all_resumptions(tmp_path):
    metric = 'coco/bbox_mAP'
    write_log(
        tmp_path,
        dict(loss=1.0, step=4, iter=4),
        {metric: 0.1, 'step': 5},
        dict(loss=1.0, step=6, iter=6),
        {metric: 0.3, 'step': 7},
    )
    # Resumed from step 5.
    write_log(
        tmp_path, dict(loss=1.0, step=6, iter=6), {metric: 0.2, 'step': 7}
    )
    progress = read_progress(tmp_path, ITERATIONS, metric)
    assert progress.curve == {5: 0.1, 7: 0.2}
    assert (progress.step, progress.steps) == (7, 10)


def test_a_run_of_epochs_counts_epochs(tmp_path):
    metric = 'coco/bbox_mAP'
    write_log(
        tmp_path,
        dict(loss=1.0, epoch=1, iter=50, step=50),
        {metric: 0.1, 'step': 1},
        dict(loss=1.0, epoch=2, iter=150, step=150),
    )
    progress = read_progress(tmp_path, EPOCHS, metric)
    assert progress.curve == {1: 0.1}
    assert (progress.step, progress.steps) == (1, 12)


def test_epochs_are_known_though_the_log_counts_steps(tmp_path):
    metric = 'coco/bbox_mAP'
    write_log(
        tmp_path,
        dict(loss=1.0, step=7330, iter=7330),
        {metric: 0.1, 'step': 1},
        dict(loss=1.0, step=7380, iter=7380),
    )
    progress = read_progress(tmp_path, EPOCHS, metric)
    assert (progress.step, progress.steps) == (1, 12)


def test_half_a_line_of_a_log_waits_for_its_other_half(tmp_path):
    write_log(tmp_path, dict(loss=1.0, step=4))
    (log,) = tmp_path.glob('*/vis_data/scalars.json')
    log.write_text(log.read_text() + '{"loss": 1.')
    assert read_progress(tmp_path, ITERATIONS, 'x').step == 4


def test_a_validation_that_found_nothing_is_zero(tmp_path):
    metric = 'coco/bbox_mAP'
    write_log(
        tmp_path,
        dict(data_time=0.1, time=0.2, step=5),
        {metric: 0.5, 'time': 0.2, 'step': 10},
    )
    curve = read_progress(tmp_path, ITERATIONS, metric).curve
    assert curve == {5: 0.0, 10: 0.5}


def test_what_is_no_validation_of_the_metric_is_only_noted(tmp_path):
    write_log(
        tmp_path,
        {'positive_share': 0.5, 'step': 3},
        {'coco/bbox_mAP': 0.5, 'time': 0.1, 'step': 5},
    )
    progress = read_progress(tmp_path, ITERATIONS, 'coco/segm_mAP')
    assert progress.curve == {}
    assert progress.others == ['coco/bbox_mAP', 'positive_share']

"""The lab's costs are read off folders of trials."""

import csv

import pytest
from click.testing import CliRunner
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import save_checkpoint

import mmdet_retina_plus
from benchmarks.lab import main
from mmdet_retina_plus.synthetic.shapes import make_shapes


@pytest.fixture
def trial(tmp_path):
    """A folder of a trial whose detector is as it was drawn at random."""
    root = tmp_path / 'set'
    make_shapes(root, num=2, num_val=2, size=96, preset='tiny')
    cfg = Config.fromfile(mmdet_retina_plus.config('lab/assigner_max-iou'))
    for split in ('train', 'val'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.data_root = f'{root}/'
        cfg[f'{split}_dataloader'].batch_size = 1
    # It counts the runner's iterations.
    resize = dict(
        type='BatchSyncRandomResize', random_size_range=(64, 96), interval=10
    )
    cfg.model.data_preprocessor.batch_augments = [resize]
    folder = tmp_path / 'max-iou_123456/seed-0'
    folder.mkdir(parents=True)
    cfg.dump(folder / 'trial.py')
    save_checkpoint(
        dict(
            state_dict=MODELS.build(cfg.model).state_dict(),
            meta=dict(dataset_meta=cfg.metainfo.to_dict()),
        ),
        str(folder / 'iter_1.pth'),
    )
    (folder / 'last_checkpoint').write_text(str(folder / 'iter_1.pth'))
    return folder


def test_each_trial_is_a_row_and_the_first_the_measure(trial, tmp_path):
    out = tmp_path / 'costs.csv'
    arguments = [str(trial), str(trial), '--repeats', '1', '--out', str(out)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    with out.open() as file:
        first, second = csv.DictReader(file)
    assert first['strategy'] == second['strategy'] == 'max-iou_123456'
    assert first['step'] == first['image'] == '1.00'
    assert float(second['step ms']) > 0
    assert float(second['peak MB']) > 0


def test_a_trial_that_is_not_finished_is_named(trial):
    (trial / 'last_checkpoint').unlink()
    result = CliRunner().invoke(main, [str(trial)])
    assert result.exit_code == 1
    assert 'no trial.py or no checkpoint' in result.output
